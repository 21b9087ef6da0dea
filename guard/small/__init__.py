"""Small private sets: a hospital's X-rays, a LoRA's thirty pictures, which a general descriptor finds alike.

What differs from a large index: descriptors are whitened and normalised by statistics of procedural pictures instead of
the set's own, thresholds come from the set looked up in itself, and the pixels of every candidate are compared.
"""
