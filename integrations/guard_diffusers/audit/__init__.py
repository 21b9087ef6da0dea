"""`memguard audit`: diffusers pipelines as samplers, the verb, and the audit of the demo's two models."""
