"""Every setting of the relay, read from the environment (docs/settings.md lists them)."""

from pathlib import Path

import dj_database_url
from django.utils.csp import CSP
from django.utils.translation import gettext_lazy as _

from relay.environment import Environment

env = Environment()

BASE_DIR = Path(__file__).resolve().parent.parent
HOME = env.folder("RELAY_HOME", BASE_DIR / "var")
DEMO = env.flag("RELAY_DEMO")
DEBUG = env.flag("RELAY_DEBUG")
SECRET_KEY = env.text("RELAY_SECRET_KEY")
SECRET_KEY_FALLBACKS = [key for key in env.text("RELAY_OLD_SECRET_KEYS").split(",") if key]

# Where each program listens. One number moves all of them, so that several relays run side by side.
PORT_BASE = env.number("RELAY_PORT_BASE", 8000, 1, 65000)
BIND = env.text("RELAY_BIND", "127.0.0.1")
WEB_PORT = env.number("RELAY_WEB_PORT", PORT_BASE, 1, 65535)
SUBMISSION_PORT = env.number("RELAY_SUBMISSION_PORT", PORT_BASE + 1, 0, 65535)
SUBMISSION_TLS_PORT = env.number("RELAY_SUBMISSION_TLS_PORT", PORT_BASE + 2, 0, 65535)
SUBMISSION_PLAIN_PORT = env.number("RELAY_SUBMISSION_PLAIN_PORT", PORT_BASE + 3 if DEMO else 0, 0, 65535)
BOUNCES_PORT = env.number("RELAY_BOUNCES_PORT", PORT_BASE + 4, 1, 65535)
SIMULATOR_DNS_PORT = env.number("RELAY_SIMULATOR_DNS_PORT", PORT_BASE + 5, 1, 65535)
SIMULATOR_PORT = env.number("RELAY_SIMULATOR_PORT", PORT_BASE + 6, 1, 65535)

# Names. ZONE is our own DNS zone: targets of the customers' records, host names, return paths.
ZONE = env.text("RELAY_ZONE", "relay.test").lower().rstrip(".")
HOSTNAME = env.text("RELAY_HOSTNAME", f"smtp.{ZONE}").lower()
SIMULATOR_DOMAIN = env.text("RELAY_SIMULATOR_DOMAIN", "simulator.test").lower()
SIMULATOR_FILES = env.number("RELAY_SIMULATOR_FILES", 200, 0, 100_000)
WEB_URL = env.text("RELAY_WEB_URL", f"http://{BIND}:{WEB_PORT}").rstrip("/")

# Submission. The certificate of both TLS ports; the demo makes its own.
TLS_CERTIFICATE = env.folder("RELAY_TLS_CERTIFICATE", HOME / "tls" / "certificate.pem")
TLS_KEY = env.folder("RELAY_TLS_KEY", HOME / "tls" / "key.pem")
MAX_RECIPIENTS = env.number("RELAY_MAX_RECIPIENTS", 50, 1, 1000)
MAX_MESSAGE_BYTES = env.number("RELAY_MAX_MESSAGE_BYTES", 20_971_520, 1024)
MAX_LINE_BYTES = env.number("RELAY_MAX_LINE_BYTES", 65_536, 998, 1_000_000)
MAX_HEADER_BYTES = env.number("RELAY_MAX_HEADER_BYTES", 262_144, 10_000, 10_000_000)
MAX_HEADER_FIELDS = env.number("RELAY_MAX_HEADER_FIELDS", 1_000, 100, 100_000)
MAX_BYTES_IN_FLIGHT = env.number("RELAY_MAX_BYTES_IN_FLIGHT", 2_000_000_000, 1_000_000, 2**40)
MESSAGES_A_MINUTE = env.number("RELAY_MESSAGES_A_MINUTE", 120_000, 1)
CREDENTIAL_CONNECTIONS = env.number("RELAY_CREDENTIAL_CONNECTIONS", 200, 1)
# In the demo everybody comes from the loopback address.
ADDRESS_CONNECTIONS = env.number("RELAY_ADDRESS_CONNECTIONS", 5000 if DEMO else 200, 1)
MAX_ERRORS = env.number("RELAY_MAX_ERRORS", 20, 1, 1000)
LOGIN_TIMEOUT = env.seconds("RELAY_LOGIN_TIMEOUT", "60s")
COMMAND_TIMEOUT = env.seconds("RELAY_COMMAND_TIMEOUT", "5m")
DATA_TIMEOUT = env.seconds("RELAY_DATA_TIMEOUT", "15m")
LOGIN_FAILURES = env.number("RELAY_LOGIN_FAILURES", 10, 1, 1000)
LOGIN_BLOCK = env.seconds("RELAY_LOGIN_BLOCK", "15m")
PROXY_NETWORKS = env.networks("RELAY_PROXY_NETWORKS")

# Delivery.
DNS_SERVER = env.name_server("RELAY_DNS")
ROUTES = env.routes("RELAY_ROUTES")
SMTP_PORT = env.number("RELAY_SMTP_PORT", 25, 1, 65535)
PRIVATE_MX = env.flag("RELAY_PRIVATE_MX")
SOURCE_ADDRESSES = env.addresses("RELAY_SOURCE_ADDRESS")
RETRY = env.schedule("RELAY_RETRY", "5m,7m,8m,25m,75m,120m,4h")
GIVE_UP = env.seconds("RELAY_GIVE_UP", "48h")
LANE_CONNECTIONS = env.number("RELAY_LANE_CONNECTIONS", 5, 1, 1000)
CONNECTIONS = env.number("RELAY_CONNECTIONS", 1000, 1, 50_000)
METRICS_PORT = env.number("RELAY_METRICS_PORT", 0, 0, 65535)
LOG_ATTEMPTS = env.flag("RELAY_LOG_ATTEMPTS")

# Sending domains: how long a broken one still sends, how often records are looked at, how old a key may become, how
# long a key stays published after its last signature.
DOMAIN_GRACE = env.seconds("RELAY_DOMAIN_GRACE", "72h")
DOMAIN_CHECK = env.seconds("RELAY_DOMAIN_CHECK", "24h")
KEY_AGE = env.seconds("RELAY_KEY_AGE", "30d")
KEY_OVERLAP = env.seconds("RELAY_KEY_OVERLAP", "7d")
# The port of authoritative name servers, and those of our own zone (names; the first is the SOA's).
DNS_PORT = env.number("RELAY_DNS_PORT", SIMULATOR_DNS_PORT if DEMO else 53, 1, 65535)
NAME_SERVERS = env.text("RELAY_NAME_SERVERS", f"ns.{ZONE}").lower().split(",")
# Public addresses of HOSTNAME and of mx.ZONE, for our zone.
ZONE_ADDRESSES = env.addresses("RELAY_ZONE_ADDRESS")
# Where our zone is published by RFC 2136 updates, signed by TSIG (RFC 8945).
PUBLISH_SERVER = env.name_server("RELAY_PUBLISH_SERVER")
TSIG_NAME = env.text("RELAY_TSIG_NAME")
TSIG_SECRET = env.text("RELAY_TSIG_SECRET")
TSIG_ALGORITHM = env.text("RELAY_TSIG_ALGORITHM", "hmac-sha256")

# Reports that come back to return paths.
MAX_REPORT_BYTES = env.number("RELAY_MAX_REPORT_BYTES", 10_485_760, 1024)
REPORT_CONNECTIONS = env.number("RELAY_REPORT_CONNECTIONS", 50, 1, 10_000)
REPORTS_A_MINUTE = env.number("RELAY_REPORTS_A_MINUTE", 60_000, 1)
# By how much the programs that take and understand them yield the processor to those that carry mail.
BACKGROUND_NICENESS = env.number("RELAY_BACKGROUND_NICENESS", 5, 0, 19)

# Truth and doorbells.
DATABASE_URL = env.text("DATABASE_URL", "postgresql:///relay")
DATABASES = {
    "default": env.parsed(
        "DATABASE_URL", dj_database_url.parse("postgresql:///relay"), "a PostgreSQL URL", dj_database_url.parse
    )
}
DATABASES["default"]["CONN_MAX_AGE"] = 0
DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {"min_size": 1, "max_size": 8, "timeout": 10}
REDIS_URL = env.text("REDIS_URL", "redis://127.0.0.1:6379/0")
# After this an address may be sent to again; 0 is never.
SUPPRESSION_EXPIRY = env.seconds("RELAY_SUPPRESSION_EXPIRY", "0")
RETENTION_DAYS = env.number("RELAY_RETENTION_DAYS", 45, 7, 3650)

INSTALLED_APPS = [
    "relay",
    "activity",
    "domains",
    "billing",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "django_htmx",
    "allauth",
    "allauth.account",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
ROOT_URLCONF = "relay.urls"
WSGI_APPLICATION = "relay.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.csp",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "billing.context.account",
                "domains.context.trouble",
            ]
        },
    }
]

AUTH_USER_MODEL = "billing.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
ACCOUNT_ADAPTER = "billing.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "activity:list"

# Nothing inline: every script and style is a file of ours or of a locked dependency.
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "img-src": [CSP.SELF, "data:"],
    "object-src": [CSP.NONE],
    "base-uri": [CSP.NONE],
    "frame-ancestors": [CSP.NONE],
    "form-action": [CSP.SELF],
}
HTTPS = WEB_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
CSRF_TRUSTED_ORIGINS = [WEB_URL]
ALLOWED_HOSTS = [host for host in env.text("RELAY_WEB_HOSTS", f"{BIND},localhost,{HOSTNAME}").split(",") if host]

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = HOME / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
DEFAULT_FROM_EMAIL = SERVER_EMAIL = f"Relay <no-reply@{ZONE}>"
MAILERS = {"default": {"BACKEND": "relay.system_mail.AcceptBackend"}}
FILE_UPLOAD_HANDLERS = [
    "activity.uploads.BoundedUploads",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {
    "default": {
        "BACKEND": "relay.cache.ForgetfulCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"socket_timeout": 2, "socket_connect_timeout": 2},
    }
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    # aiosmtpd tells of every line, in the bytes of whoever sent it.
    "loggers": {"mail.log": {"level": "WARNING"}},
    "root": {"handlers": ["console"], "level": env.text("RELAY_LOG_LEVEL", "INFO").upper()},
}
