"""Download of AG News, which fails within seconds without a network."""

import threading
from pathlib import Path

# tensorflow_datasets retries for minutes, so its host is contacted first.
HOST = "https://drive.google.com"
TIMEOUT = 4.0


class DownloadError(Exception):
    """The download failed; the message names the cause."""


def download_ag_news(data_dir: Path) -> None:
    """Downloads ag_news_subset and prepares it in a folder of tensorflow_datasets.

    Raises:
      DownloadError: the host is unreachable, or the download fails.
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
    """Returns the reason why the host does not answer; '' if it does."""
    import requests

    problems = []

    def request() -> None:
        try:
            requests.head(HOST, timeout=TIMEOUT)
            problems.append("")
        except requests.RequestException as error:
            problems.append(f"{HOST} cannot be reached ({type(error).__name__})")

    # The time limit of a request does not cover the look-up of the host's name.
    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    return problems[0] if problems else f"{HOST} does not answer within {TIMEOUT:g} seconds"
