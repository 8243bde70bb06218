"""The demo's emails: sent over SMTP with AUTH and STARTTLS, as a customer's software would."""

import smtplib
import ssl
from collections.abc import Iterator
from email.message import EmailMessage

from django.conf import settings

from relay.demo.customer import DOMAIN, Customer

# How often, to which simulator address (its +suffix is the customer's name), and about what.
EMAILS = (
    ("delivered+marie.tremblay", "Your receipt for order 48{n}"),
    ("deferred+j.ouellet", "Your order is on its way"),
    ("delivered+paul.gagnon", "Password reset"),
    ("mailbox-full+anne.roy", "Your receipt for order 48{n}"),
    ("delivered+s.nguyen", "Welcome to the club"),
    ("unknown+info", "Password reset"),
    ("delivered+k.singh", "Your receipt for order 48{n}"),
    ("late-bounce+a.diallo", "Your order has been delivered"),
    ("delivered+luc", "Confirm your e-mail address"),
    ("blocked+ventes", "Monthly statement"),
    ("delivered+o.bouchard", "Your receipt for order 48{n}"),
    ("complaint+r.lavoie", "Ten new recipes for autumn"),
    ("slow+c.morin", "Your appointment tomorrow at 10:00"),
    ("autoreply+h.pelletier", "Your invoice is ready"),
)
ROUNDS = 3
# What these do puts the address on the suppression list, so each round writes to another one.
ONCE = ("unknown+", "late-bounce+", "complaint+")
UNPROVED = "billing@boutlque.test"
# Its mail server never answers, so this email stays Deferred until it is given up.
UNREACHABLE = "info@dead"


def messages() -> Iterator[tuple[str, EmailMessage]]:
    """(envelope sender, message)"""
    number = 200
    for round_ in range(1, ROUNDS + 1):
        for mailbox, subject in EMAILS:
            number += 1
            if round_ > 1 and mailbox.startswith(ONCE):
                mailbox = f"{mailbox}{round_}"
            sender = f"no-reply@{DOMAIN}" if "Password" in subject else f"shop@{DOMAIN}"
            yield sender, email(sender, mailbox, subject.format(n=number))
    yield f"shop@{DOMAIN}", email(f"shop@{DOMAIN}", UNREACHABLE, "Your table for Saturday")
    yield UNPROVED, email(UNPROVED, "delivered+partner", "Monthly statement")


def email(sender: str, mailbox: str, subject: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = f"Boutique Tremblay <{sender}>"
    message["To"] = mailbox + ("." if "@" in mailbox else "@") + settings.SIMULATOR_DOMAIN
    message["Subject"] = subject
    message["X-Relay-Tag"] = subject.split()[1].lower() if len(subject.split()) > 1 else "mail"
    message.set_content(f"Hello,\n\n{subject}.\n\nThank you for your trust,\nBoutique Tremblay\n")
    return message


def send(customer: Customer) -> int:
    """How many were accepted. The one from an unproved domain is meant to be Rejected."""
    context = ssl.create_default_context(cafile=str(settings.TLS_CERTIFICATE))
    context.check_hostname = False
    accepted = 0
    with smtplib.SMTP(settings.BIND, settings.SUBMISSION_PORT, timeout=30) as client:
        client.starttls(context=context)
        client.login(customer.credential.username, customer.secrets.smtp_secret)
        for sender, message in messages():
            try:
                client.send_message(message, sender)
                accepted += 1
            except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused):
                continue
    return accepted
