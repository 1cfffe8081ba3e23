"""Layouts: one reader for each foreign way of laying out a dataset."""
