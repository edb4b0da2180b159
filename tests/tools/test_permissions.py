"""The policy: allow, ask and deny, and a refusal that says which key would allow it."""

import attrs
import pytest

from trouper.actors.permissions import PERMISSIONS, Decision, PermissionPolicy
from trouper.runtime import PermissionRefused


class Person:
    def __init__(self, answer):
        self.answer = answer
        self.questions = []

    async def ask(self, question):
        self.questions.append(question)
        return self.answer


def test_the_default_policy():
    policy = PermissionPolicy()

    assert {name: policy.decision(name).value for name in PERMISSIONS} == {
        "read": "allow",
        "write": "allow",
        "overwrite": "ask",
        "outside": "deny",
        "network": "deny",
        "private_network": "deny",
        "memory": "allow",
    }


def test_decisions_may_be_given_as_text_and_nothing_else():
    assert PermissionPolicy(read="deny").read is Decision.DENY
    with pytest.raises(ValueError, match="maybe"):
        PermissionPolicy(read="maybe")
    with pytest.raises(ValueError, match="no permission; there are read, write"):
        PermissionPolicy().decision("asker")


async def test_what_is_allowed_or_needs_no_leave_just_returns():
    policy = PermissionPolicy(read="allow")

    await policy.require("read", "read a.txt")
    await policy.require(None, "add numbers")


@pytest.mark.parametrize("permission", PERMISSIONS)
async def test_a_refusal_names_the_key_that_would_allow_it(permission):
    policy = PermissionPolicy(**{permission: "deny"})

    with pytest.raises(PermissionRefused, match=f"it may not do it: permissions.{permission} is 'deny'") as caught:
        await policy.require(permission, "do it")

    assert f"`permissions.{permission}: allow`" in str(caught.value)
    assert caught.value.effect is False
    await attrs.evolve(policy, **{permission: "allow"}).require(permission, "do it")


async def test_ask_without_anybody_to_ask_is_a_refusal():
    with pytest.raises(PermissionRefused, match="is 'ask' and there is nobody to ask"):
        await PermissionPolicy().require("overwrite", "overwrite a.txt")


async def test_a_person_decides():
    kind, strict = Person(answer=True), Person(answer=False)

    await PermissionPolicy(asker=kind).require("overwrite", "overwrite a.txt")
    with pytest.raises(PermissionRefused, match="the answer to the question was no"):
        await PermissionPolicy(asker=strict).require("overwrite", "overwrite a.txt")

    assert kind.questions == strict.questions == ["May this run overwrite a.txt?"]


async def test_nobody_is_asked_about_what_is_allowed_or_denied():
    person = Person(answer=True)
    policy = PermissionPolicy(overwrite="deny", asker=person)

    await policy.require("read", "read a.txt")
    with pytest.raises(PermissionRefused):
        await policy.require("overwrite", "overwrite a.txt")

    assert person.questions == []
