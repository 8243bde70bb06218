"""As whom may you send, with which keys: sending domains, DKIM keys and SMTP credentials."""

import datetime as dt
import hashlib
import secrets
from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing.models import Account
from domains.keys import EncryptedField, make_private_key, public_key_of


def make_token() -> str:
    """Unguessable and a valid DNS label: 20 characters of base 32 (100 bits)."""
    return "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(20))


class DomainQuerySet(models.QuerySet["Domain"]):
    def validated(self) -> Self:
        return self.filter(validated_at__isnull=False)

    def due(self, now: dt.datetime) -> Self:
        """The domains that are to be looked up by themselves, the longest waiting first."""
        return self.filter(next_check_at__lte=now).order_by("next_check_at")


class Domain(models.Model):
    """A sending domain of an account; it may send when all three records are validated."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="domains")
    name = models.CharField(_("domain"), max_length=253)
    token = models.CharField(max_length=20, unique=True, default=make_token, editable=False)
    bounce_label = models.CharField(_("bounce label"), max_length=63, default="bounce")
    # What an account adds to the zone of a domain that another account has validated, to take it over.
    claim_token = models.CharField(max_length=20, default=make_token, editable=False)
    validated_at = models.DateTimeField(_("validated"), null=True, blank=True)
    # Since when a validated domain lacks a record: it still sends, until the grace is over.
    failing_since = models.DateTimeField(_("failing since"), null=True, blank=True)
    checked_at = models.DateTimeField(_("last checked"), null=True, blank=True)
    # Empty: it is never looked up by itself (our own zone).
    next_check_at = models.DateTimeField(_("next check"), null=True, blank=True, default=timezone.now)
    # Checks since the last change, from which the time until the next one grows.
    unchanged_checks = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    # {record key: Finding as a dict} and what else the DNS said: see domains/finding.py.
    found = models.JSONField(_("what DNS showed"), default=dict, blank=True)
    advice = models.JSONField(_("what DNS showed beside the records"), default=dict, blank=True)
    # The bounce record is gone: return paths are at our own zone until it is back.
    own_return_path = models.BooleanField(_("return path of our own"), default=False, db_default=False)
    # When the idle selector shall get a key and sign; empty before the domain was validated.
    rotate_at = models.DateTimeField(_("next rotation"), null=True, blank=True)
    # When there is something to do about the keys: see domains/rotation.py.
    next_step_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("added"), auto_now_add=True)

    objects = DomainQuerySet.as_manager()

    class Meta:
        verbose_name = _("domain")
        verbose_name_plural = _("domains")
        constraints = [
            models.UniqueConstraint("account", Lower("name"), name="one_domain_per_account"),
            # A claim of an unproved name must not keep its owner out, so only proof is exclusive.
            models.UniqueConstraint(
                Lower("name"), condition=models.Q(validated_at__isnull=False), name="one_validated_owner"
            ),
        ]
        indexes = [
            models.Index(fields=["next_check_at"], name="domain_due_check"),
            models.Index(fields=["next_step_at"], name="domain_due_rotation"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def bounce_host(self) -> str:
        return f"{self.bounce_label}.{self.name}"

    def make_keys(self) -> None:
        """Both DKIM keys; the first one signs."""
        for slot in DkimKey.Slot:
            DkimKey.objects.create(domain=self, slot=slot, active=slot == DkimKey.Slot.ONE)


class DkimKey(models.Model):
    """One of the two keys of a domain: `r1` and `r2` are the selectors the customer's CNAME records name."""

    class Slot(models.IntegerChoices):
        ONE = 1, "DKIM 1"
        TWO = 2, "DKIM 2"

    domain = models.ForeignKey(Domain, on_delete=models.CASCADE, related_name="keys")
    slot = models.PositiveSmallIntegerField(_("record"), choices=Slot)
    private_key = EncryptedField(default=make_private_key, editable=False)
    # The p= value, so that looking at DNS and printing the zone open no private key.
    public_key = models.TextField(editable=False)
    active = models.BooleanField(_("signs"), default=False)
    created_at = models.DateTimeField(_("made"), default=timezone.now)
    # When every authoritative server showed this key for the first time.
    seen_at = models.DateTimeField(_("seen in DNS"), null=True, blank=True)
    # When no resolver can remember anything older: from then on it may sign.
    usable_at = models.DateTimeField(_("may sign from"), null=True, blank=True)
    # When it last stopped signing: it stays published for a while, for mail that is still under way.
    stopped_at = models.DateTimeField(_("stopped signing"), null=True, blank=True)
    # For how many seconds resolvers may remember what stood at the selector before this key.
    old_ttl = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    class Meta:
        verbose_name = _("DKIM key")
        verbose_name_plural = _("DKIM keys")
        constraints = [
            models.UniqueConstraint(fields=["domain", "slot"], name="one_key_per_slot"),
            models.UniqueConstraint(fields=["domain"], condition=models.Q(active=True), name="one_signing_key"),
        ]

    def __str__(self) -> str:
        return f"{self.selector}._domainkey of domain {self.domain_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self._state.adding:
            self.public_key = public_key_of(self.private_key)
        super().save(*args, **kwargs)

    @property
    def selector(self) -> str:
        return f"r{self.slot}"

    @property
    def txt(self) -> str:
        """The TXT record receivers read (RFC 6376 3.6.1)."""
        return f"v=DKIM1; k=rsa; p={self.public_key}"


class DomainEvent(models.Model):
    """One line of a domain's history. `detail`: what the kind's sentence names, such as {"record": "dkim1"}."""

    class Kind(models.TextChoices):
        ADDED = "added", _("Added")
        RECORD_CHANGED = "record_changed", _("A record changed")
        VALIDATED = "validated", _("Validated")
        FAILING = "failing", _("A record is not right any more")
        RECOVERED = "recovered", _("All records are right again")
        UNAUTHENTICATED = "unauthenticated", _("Not validated any more")
        CLAIMED = "claimed", _("Taken over from another account")
        LOST = "lost", _("Taken over by another account")
        KEY_MADE = "key_made", _("A new key was made")
        KEY_SEEN = "key_seen", _("The new key is seen in DNS")
        KEY_SWITCHED = "key_switched", _("Another key signs")
        KEY_RETIRED = "key_retired", _("The old key was withdrawn")
        RETURN_PATH = "return_path", _("The return path changed")
        ROTATION_ASKED = "rotation_asked", _("A rotation was asked for")
        SHARED = "shared", _("A link for a colleague was made")

    domain = models.ForeignKey(Domain, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(_("time"), default=timezone.now)
    kind = models.CharField(_("what"), max_length=20, choices=Kind)
    detail = models.JSONField(default=dict, blank=True)
    # Who did it; empty when the relay did.
    by = models.CharField(_("by"), max_length=254, blank=True)
    # The account's owners have yet to be told by email.
    mail_owed = models.BooleanField(default=False, db_default=False, editable=False)

    class Meta:
        verbose_name = _("line of a domain's history")
        verbose_name_plural = _("histories of domains")
        indexes = [
            models.Index(fields=["domain", "-id"], name="domain_history"),
            models.Index(fields=["id"], condition=models.Q(mail_owed=True), name="domain_mail_owed"),
        ]

    def __str__(self) -> str:
        return f"{self.domain_id}: {self.kind}"


class DemoRecord(models.Model):
    """A record that a customer of the demo entered in the simulator's DNS; used nowhere else."""

    domain = models.ForeignKey(Domain, on_delete=models.CASCADE, related_name="demo_records")
    name = models.CharField(max_length=253)
    type = models.CharField(max_length=10)
    value = models.TextField()

    class Meta:
        verbose_name = _("record of the demo's DNS")
        verbose_name_plural = _("records of the demo's DNS")
        constraints = [models.UniqueConstraint(fields=["name", "type", "value"], name="one_demo_record")]

    def __str__(self) -> str:
        return f"{self.name} {self.type} {self.value}"


class CredentialQuerySet(models.QuerySet["SmtpCredential"]):
    def usable(self) -> Self:
        return self.filter(revoked_at__isnull=True)


class SmtpCredential(models.Model):
    """A generated user name and secret with which software logs in; only the secret's SHA-256 is kept."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="credentials")
    name = models.CharField(
        _("name"),
        max_length=60,
        help_text=_("Which software uses it, such as “shop-web”."),
    )
    username = models.CharField(_("user name"), max_length=40, unique=True, editable=False)
    secret_sha256 = models.BinaryField(max_length=32, editable=False)
    domain = models.ForeignKey(
        Domain,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        verbose_name=_("only for this domain"),
    )
    networks = ArrayField(
        models.CharField(max_length=43),
        default=list,
        blank=True,
        verbose_name=_("networks without AUTH"),
        help_text=_("Client networks that may use the plain listener as this credential, such as 10.1.2.0/24."),
    )
    send_dsn = models.BooleanField(
        _("send DSNs"),
        default=False,
        db_default=False,
        help_text=_("Tell the envelope sender of each bounce by email (RFC 3464)."),
    )
    created_at = models.DateTimeField(_("made"), auto_now_add=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)

    objects = CredentialQuerySet.as_manager()

    class Meta:
        verbose_name = _("SMTP credential")
        verbose_name_plural = _("SMTP credentials")

    def __str__(self) -> str:
        return f"{self.name} ({self.username})"

    def reset_secret(self) -> str:
        """A new secret, returned once; the old one stops at once. Save the row after it."""
        secret = secrets.token_urlsafe(32)
        self.secret_sha256 = hash_secret(secret)
        if not self.username:
            self.username = f"u{make_token()}"
        return secret

    def revoke(self) -> None:
        self.revoked_at = timezone.now()
        self.save(update_fields=["revoked_at"])


class LoginEvent(models.Model):
    """One line of the log-in log; equal attempts of the same moments are one line with their number.

    `credential` is empty when no credential has the user name.
    """

    class Result(models.TextChoices):
        ACCEPTED = "accepted", _("Logged in")
        REFUSED = "refused", _("Wrong secret")
        REVOKED = "revoked", _("Credential revoked")
        UNKNOWN = "unknown", _("Unknown user name")
        BLOCKED = "blocked", _("Blocked after too many failures")

    credential = models.ForeignKey(
        SmtpCredential,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="logins",
    )
    username = models.CharField(_("user name"), max_length=64)
    address = models.GenericIPAddressField(_("address"))
    result = models.CharField(_("result"), max_length=10, choices=Result)
    count = models.PositiveIntegerField(_("times"), default=1)
    at = models.DateTimeField(_("time"), default=timezone.now)

    class Meta:
        verbose_name = _("log-in")
        verbose_name_plural = _("log-ins")
        indexes = [
            models.Index(fields=["credential", "-at"], name="login_newest"),
            models.Index(fields=["at"], name="login_oldest"),
        ]

    def __str__(self) -> str:
        return f"{self.username} from {self.address}: {self.result}"


def hash_secret(secret: str) -> bytes:
    """The secret is 256 random bits, so a slow hash would protect nothing more."""
    return hashlib.sha256(secret.encode()).digest()
