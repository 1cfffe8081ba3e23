"""Video files in and out, and resampling in time and space. Knows nothing of datasets, codecs or models."""
