"""Cards, plots and self-contained HTML reports."""
