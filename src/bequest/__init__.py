"""Bequest: what did pre-training bequeath to your model?"""
