"""Progress, metrics log, run files, statistics, plots and HTML pages."""
