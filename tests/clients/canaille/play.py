"""Provisions by Canaille, an identity provider: what is saved in its backend is sent to the applications that it trusts."""

import datetime
import os

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend

CONFIGURATION = {
    "SECRET_KEY": "not a secret",
    "SERVER_NAME": "idp.example.com",
    "CANAILLE": {"DATABASE": "memory"},
    # Applications are clients of OpenID Connect, and those on 127.0.0.1 are trusted.
    "CANAILLE_OIDC": {"ENABLE_OIDC": True},
    # What it sends has links to its own SCIM server.
    "CANAILLE_SCIM": {"ENABLE_SERVER": True, "ENABLE_CLIENT": True},
}


def main():
    app = create_app(CONFIGURATION)
    with app.app_context(), Backend.instance.session():
        backend = Backend.instance
        now = datetime.datetime.now(datetime.timezone.utc)
        rollcall = models.Client(
            client_id="rollcall",
            client_name="Rollcall",
            client_uri=os.environ["SCIM_BASE_URL"],
            client_id_issued_at=now,
        )
        backend.save(rollcall)
        # It sends a token that it issued itself, so the one of the directory is kept as such.
        token = models.Token(
            token_id="rollcall",
            access_token=os.environ["SCIM_TOKEN"],
            client=rollcall,
            audience=[rollcall],
            scope=["openid"],
            issue_date=now,
            lifetime=3600,
        )
        backend.save(token)
        play(backend, now)


def play(backend, now):
    ann = models.User(user_name="ann", formatted_name="Ann Archer", family_name="Archer", emails=["ann@example.com"], department="Sales")
    backend.save(ann)
    bob = models.User(user_name="bob", formatted_name="Bob Baker", family_name="Baker", emails=["bob@example.com"])
    backend.save(bob)
    sales = models.Group(display_name="Sales", members=[ann, bob])
    backend.save(sales)
    # A user is saved with the groups, which have changed since.
    backend.reload(ann)
    ann.title = "Lead"
    backend.save(ann)
    sales.members = [ann]
    backend.save(sales)
    backend.reload(ann)
    # This is how it deactivates.
    ann.lock_date = now
    backend.save(ann)
    backend.delete(sales)
    backend.reload(ann)
    backend.reload(bob)
    backend.delete(bob)
    backend.delete(ann)


if __name__ == "__main__":
    main()
