from django.apps import AppConfig


class RelayConfig(AppConfig):
    name = "relay"

    def ready(self) -> None:
        # Every program sends tasks by name, so each needs the Celery app; checks register themselves.
        from relay import celery, checks  # noqa: F401
