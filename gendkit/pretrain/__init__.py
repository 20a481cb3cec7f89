"""Recipes of the embedded models: rendered people in; landmark network, encoder, detector and their report out.

Only `gendkit weights` imports this package; using the models needs none of it.
"""
