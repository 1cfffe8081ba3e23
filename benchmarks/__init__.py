"""Measurements of WorldTune against its peers, on the machine at hand."""
