"""Layouts: one reader for each foreign way of laying out a dataset.

A reader is a module with `read(source, *, allow_missing_captions=False, fps_hz=None) -> Source`. fps_hz is the frame
rate of recordings whose files do not tell it; the other readers refuse it. Conventions are in docs/layouts.md.
"""
