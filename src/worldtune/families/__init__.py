"""Families: one room for each kind of world model."""
