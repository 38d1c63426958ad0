"""The studies as a flow: every claim of the papers, tried side by side."""
