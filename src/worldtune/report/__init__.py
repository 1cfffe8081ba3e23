"""One self-contained report.html, and contact sheets for documents. Knows numbers and pixels, nothing else."""
