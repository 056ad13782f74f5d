"""Files from a server that may be silent, slow, endless or gone: within bounds of time and size, or refused."""

from __future__ import annotations

import time

from . import streams

TIMEOUT = 30  # seconds without a byte
LIMIT = 600  # seconds for all bytes of a file, so that a trickle ends too


def fetch(url: str, most: int) -> bytes:
    """Return what a server has at an address.

    Parameters
    ----------
    url : str
        Of a file, whose name the bar shows.
    most : int
        Bytes that are taken.

    Returns
    -------
    bytes
        As served, compressed or not.

    Raises
    ------
    ConnectionError
        If it cannot be had, or is longer; says why.
    """
    import requests  # these two come with pooch
    import urllib3

    content, deadline = bytearray(), time.monotonic() + LIMIT
    try:
        with requests.get(url, stream=True, timeout=TIMEOUT) as response:
            response.raise_for_status()
            name, total = url.rpartition("/")[2], response.raw.length_remaining
            with streams.bar(desc=name, total=total, unit="B", unit_scale=True) as bar:
                # read1 returns what has arrived, so that the clock is looked at however little that is.
                while block := response.raw.read1(1 << 16, decode_content=False):
                    content += block
                    bar.update(len(block))
                    if time.monotonic() > deadline:
                        raise ConnectionError(f"not finished in {LIMIT} s")
                    if len(content) > most:
                        raise ConnectionError(f"sent more than {most} bytes")
    except requests.HTTPError as error:
        raise ConnectionError(f"answered with status {error.response.status_code}") from None
    except (requests.Timeout, urllib3.exceptions.TimeoutError):
        raise ConnectionError(f"nothing received for {TIMEOUT} s") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise ConnectionError(f"the connection failed ({type(error).__name__})") from None
    return bytes(content)
