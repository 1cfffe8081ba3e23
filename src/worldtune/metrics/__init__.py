"""Task-blind measures of generated clips: pure functions, arrays in, numbers out. See README.md."""
