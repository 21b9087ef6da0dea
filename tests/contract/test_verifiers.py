"""Every verifier passes its contract."""

from __future__ import annotations

from guard.verification.verifier import PixelVerifier
from tests.contract.verifier import VerifierContract


class TestPixelVerifier(VerifierContract):
    def build(self) -> PixelVerifier:
        return PixelVerifier()
