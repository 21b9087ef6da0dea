"""Does a model repeat its training pictures? The extraction audit of Carlini et al. 2023 (arXiv:2301.13188).

Generations of one prompt that lie close together point to memorisation, before the training set is looked at; then
the training set says which picture it is. Knows generations as arrays of pixels; no pipeline.
"""
