"""Pre-trained weights and tokenizers come from a model hub; without a network the answer must come at once."""

import logging
import os
import socket
import urllib.request
from functools import lru_cache
from urllib.parse import urlparse

log = logging.getLogger(__name__)

CONNECT_SECONDS = 3.0


@lru_cache
def prefer_cache_without_network() -> None:
    """Switches the hub client to its local cache when the hub cannot be reached, instead of a minute of retries.

    Behind a proxy nothing is probed: the client knows how to use it.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or urllib.request.getproxies():
        return
    endpoint = urlparse(constants.ENDPOINT)
    port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
    try:
        socket.create_connection((endpoint.hostname or "", port), timeout=CONNECT_SECONDS).close()
    except OSError:
        log.warning("no network: pre-trained weights and tokenizers are looked up in the local cache only")
        constants.HF_HUB_OFFLINE = True
        os.environ["HF_HUB_OFFLINE"] = "1"
