"""The language the rooms share. Imports nothing else of WorldTune."""
