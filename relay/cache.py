"""The cache behind log-in limits: without Valkey it forgets, and nobody is kept from logging in."""

import logging
from collections.abc import Callable
from typing import Any

import redis
from django.core.cache.backends.redis import RedisCache, RedisCacheClient

log = logging.getLogger(__name__)


class ForgetfulClient(RedisCacheClient):
    """Answers like an empty cache while Valkey is away, for the calls that log-in limits make."""

    def add(self, *args: Any) -> Any:
        return _or_else(True, super().add, *args)

    def get(self, key: Any, default: Any) -> Any:
        return _or_else(default, super().get, key, default)

    def set(self, *args: Any) -> Any:
        return _or_else(None, super().set, *args)

    def delete(self, *args: Any) -> Any:
        return _or_else(False, super().delete, *args)


class ForgetfulCache(RedisCache):
    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = ForgetfulClient


def _or_else(empty: Any, call: Callable[..., Any], *args: Any) -> Any:
    try:
        return call(*args)
    except redis.RedisError as error:
        log.warning("the cache is away: %s", error)
        return empty
