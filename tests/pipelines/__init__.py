"""Stock diffusers pipelines with tiny, seeded, untrained parts. Nothing is downloaded."""
