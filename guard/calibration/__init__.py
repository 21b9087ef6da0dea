"""From a target false-positive rate to a threshold. What most callers need is here, imported when first used."""
