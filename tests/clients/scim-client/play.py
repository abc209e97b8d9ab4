"""Provisions by the library scim-client, which knows users and no groups."""

import os
import sys

from scim_client import SCIMClient, User

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


def main():
    client = SCIMClient(os.environ["SCIM_BASE_URL"], os.environ["SCIM_TOKEN"])
    ann = client.create_user(
        User(
            id=None,
            external_id="ann",
            user_name="ann@example.com",
            active=True,
            name={"given_name": "Ann", "family_name": "Archer"},
            display_name="Ann Archer",
            emails=[{"value": "ann@example.com", "type": "work", "primary": True}],
            schemas=[User.CORE_SCHEMA, ENTERPRISE],
            enterprise_user={"department": "Sales"},
        )
    )
    ann.display_name = "Ann Baker"
    ann = client.update_user(ann)
    ann.active = False
    ann = client.update_user(ann)
    found = client.search_users('userName eq "ann@example.com"').resources
    if [user.id for user in found] != [ann.id]:
        sys.exit(f"the search for ann found {[user.id for user in found]}")
    read = client.read_user(ann.id)
    if (read.active, read.display_name, read.enterprise_user.department) != (False, "Ann Baker", "Sales"):
        sys.exit(f"ann is not as she was written: {read.to_dict()}")
    client.delete_user(user=ann)


if __name__ == "__main__":
    main()
