"""Every setting of the guard, from file, environment and keywords, as one checked value. Reads nothing at import.

Later sources win: defaults < TOML file < environment (`MEMGUARD_MODE`, `MEMGUARD_POLICY__FLAG`) < keywords.
"""

from guard.config.loading import TABLES, load_config, load_table, override
from guard.config.policy import PolicyConfig
from guard.config.settings import GuardConfig, OnBlock, SkipReason

__all__ = [
    "TABLES",
    "GuardConfig",
    "OnBlock",
    "PolicyConfig",
    "SkipReason",
    "load_config",
    "load_table",
    "override",
]
