"""What `make run` prints when it is ready, and the same for programs in RELAY_HOME/up.json."""

from typing import Any

from django.conf import settings

from relay.demo.customer import CUSTOMER, OPERATOR, Customer


def facts(customer: Customer) -> dict[str, Any]:
    """The content of up.json (DESIGN section 8)."""
    name_server = settings.DNS_SERVER or (settings.BIND, settings.SIMULATOR_DNS_PORT)
    return {
        "web": settings.WEB_URL,
        "login": {"email": CUSTOMER, "password": customer.secrets.password},
        "operator": {"email": OPERATOR, "password": customer.secrets.password},
        "submission": {
            "host": settings.BIND,
            "port": settings.SUBMISSION_PORT,
            "tls_port": settings.SUBMISSION_TLS_PORT,
            "plain_port": settings.SUBMISSION_PLAIN_PORT,
            "username": customer.credential.username,
            "password": customer.secrets.smtp_secret,
        },
        "bounces": {"host": settings.BIND, "port": settings.BOUNCES_PORT},
        "dns": {"host": name_server[0], "port": name_server[1]},
        "simulator": {"host": settings.BIND, "port": settings.SIMULATOR_PORT, "domain": settings.SIMULATOR_DOMAIN},
        "domain": customer.domain.name,
        "database_url": settings.DATABASE_URL,
        "redis_url": settings.REDIS_URL,
    }


def banner(facts: dict[str, Any]) -> str:
    smtp, domain, simulator = facts["submission"], facts["domain"], facts["simulator"]["domain"]
    return f"""
  The relay is up.

    Web        {facts["web"]}
    Log in     {facts["login"]["email"]}   password  {facts["login"]["password"]}
    Operator   {facts["web"]}/admin/  {facts["operator"]["email"]}   same password

    SMTP       {smtp["host"]}   port {smtp["port"]} (STARTTLS) or {smtp["tls_port"]} (TLS)
    User name  {smtp["username"]}
    Password   {smtp["password"]}

  Send one and watch it turn Delivered:

    swaks --server {smtp["host"]}:{smtp["port"]} --tls --auth PLAIN --auth-user {smtp["username"]} \\
      --auth-password {smtp["password"]} --from shop@{domain} --to delivered@{simulator}

    python3 -c "import smtplib, ssl; s = smtplib.SMTP_SSL('{smtp["host"]}', {smtp["tls_port"]}, \
context=ssl._create_unverified_context()); s.login('{smtp["username"]}', '{smtp["password"]}'); \
s.sendmail('shop@{domain}', 'late-bounce@{simulator}', 'From: shop@{domain}\\r\\nSubject: Hello\\r\\n\\r\\nHi')"

  Other addresses at {simulator}: deferred@ mailbox-full@ unknown@ late-bounce@ blocked@ complaint@ slow@ autoreply@
  Ctrl-C ends everything.
"""
