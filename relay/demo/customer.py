"""The demo's customer and operator: made once, found again at every start."""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import transaction

from billing.models import Account, Membership, Plan, User
from domains import demo_dns
from domains.models import Domain, SmtpCredential, hash_secret

DOMAIN = "boutique.test"
CUSTOMER = "demo@boutique.test"
COLLEAGUE = "luc@boutique.test"
OPERATOR = "operator@relay.test"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What only the demo may know again after it was shown: kept in RELAY_HOME/demo.json, readable by its owner."""

    password: str
    smtp_secret: str

    @classmethod
    def load(cls, path: Path) -> "Secrets":
        if path.exists():
            return cls(**json.loads(path.read_text()))
        made = cls(secrets.token_urlsafe(9), secrets.token_urlsafe(32))
        write_private(path, {"password": made.password, "smtp_secret": made.smtp_secret})
        return made


@dataclass(frozen=True, slots=True)
class Customer:
    account: Account
    domain: Domain
    credential: SmtpCredential
    secrets: Secrets


def write_private(path: Path, content: object) -> None:
    """Complete or not at all, and readable by nobody else at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file, indent=2)
    fresh.replace(path)


@transaction.atomic
def make_customer() -> Customer:
    """Idempotent: what is there stays as it is, but for the passwords, which are those of demo.json."""
    known = Secrets.load(settings.HOME / "demo.json")
    plan, _ = Plan.objects.get_or_create(name="Growth", defaults={"monthly_quota": 1_000_000, "history_days": 45})
    account, _ = Account.objects.get_or_create(
        name="Boutique Tremblay", defaults={"plan": plan, "time_zone": "America/Toronto"}
    )
    _user(CUSTOMER, "Marie Tremblay", known.password, account, Membership.Role.OWNER)
    _user(COLLEAGUE, "Luc Gagnon", known.password, account, Membership.Role.MEMBER)
    operator = _user(OPERATOR, "Operator", known.password)
    operator.is_staff = operator.is_superuser = True
    operator.save()
    domain, made = Domain.objects.get_or_create(account=account, name=DOMAIN)
    if made:
        domain.make_keys()
        demo_dns.enter(domain)
    credential = _credential(account, "shop-web", known.smtp_secret)
    _credential(account, "old-printer", secrets.token_urlsafe(32), networks=["127.0.0.0/8"])
    return Customer(account, domain, credential, known)


def _user(email: str, name: str, password: str, account: Account | None = None, role: str = "") -> User:
    user = User.objects.filter(email=email).first() or User.objects.create_user(email, password, name=name)
    if not user.check_password(password):
        user.set_password(password)
        user.save()
    if account is not None:
        Membership.objects.get_or_create(account=account, user=user, defaults={"role": role})
    return user


def _credential(account: Account, name: str, secret: str, networks: list[str] | None = None) -> SmtpCredential:
    found = SmtpCredential.objects.filter(account=account, name=name, revoked_at__isnull=True).first()
    if found is None:
        found = SmtpCredential(account=account, name=name, networks=networks or [])
        found.reset_secret()
    if not networks:
        found.secret_sha256 = hash_secret(secret)
    found.save()
    return found
