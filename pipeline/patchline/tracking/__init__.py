"""From the files of a finished pipeline to MLflow runs, a report, and the champion.

`results.load_results` reads the files, `report.render` draws them, `runs.track` logs them, `registry.promote` moves the champion.
"""
