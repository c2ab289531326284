"""The download of AG News, which gives up in seconds where there is no network."""

import threading
from pathlib import Path

# tensorflow_datasets retries for minutes, so the host that it will ask is tried before.
HOST = "https://drive.google.com"
PATIENCE = 4.0


class DownloadError(Exception):
    """The data set cannot be had. The message says why."""


def download(data_dir: Path) -> None:
    """Downloads ag_news_subset and prepares it in a folder of tensorflow_datasets.

    Raises:
      DownloadError: it cannot be had.
    """
    if problem := _unreachable():
        raise DownloadError(problem)
    from rnnjax.data.corpora import builders

    try:
        builders.download("ag_news_subset", data_dir)
    # Anything may come back instead of the archive: a page about quotas, half a file, a refusal.
    except Exception as error:
        first_line = (str(error).splitlines() or [""])[0]
        raise DownloadError(f"the download failed: {type(error).__name__}: {first_line}") from error


def _unreachable() -> str:
    """Returns why the host does not answer; '' if it does."""
    import requests

    problems = []

    def ask() -> None:
        try:
            requests.head(HOST, timeout=PATIENCE)
            problems.append("")
        except requests.RequestException as error:
            problems.append(f"{HOST} cannot be reached ({type(error).__name__})")

    # The time limit of a request does not cover the look-up of the host's name.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return problems[0] if problems else f"{HOST} does not answer within {PATIENCE:g} seconds"
