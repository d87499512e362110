"""From the files of a finished pipeline to MLflow runs, a report, and the champion.

`results.load_results` reads the files, `report.render_report` draws them, `runs.track` logs them and
`registry.promote` moves the champion.
"""
