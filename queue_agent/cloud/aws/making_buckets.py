"""A bucket for results, made or compared."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from queue_agent.cloud.aws.errors import translated
from queue_agent.cloud.aws.making import found, over_tls_only, policy
from queue_agent.cloud.aws.names import Account
from queue_agent.cloud.making import Difference, Making
from queue_agent.cloud.queue_times import LONGEST_KEPT
from queue_agent.cloud.refusals import reason_of
from queue_agent.wire.errors import SettingsError, Unavailable
from queue_agent.wire.layout import AS_LONG_AS_MESSAGES

_Rule = Mapping[str, Any]

_ALL_BLOCKED: Final = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
_UPLOADS: Final = "queue-agent-uploads"
_UPLOAD_DAYS: Final = 7
"""After which the parts are removed of an upload that was never ended."""
_SAYS_WHICH: Final = frozenset({"Prefix"})
_WITHOUT_LOCATION: Final = "us-east-1"
"""Where buckets come that name no place, and the only place that may not be named:
https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
"""


async def make_bucket(s3: Any, name: str, account: Account, making: Making) -> None:
    """Let it be there: private, and without what nobody needs any more.

    Raises:
        SettingsError: it is somebody else's.
        Unavailable: S3 does not answer, or refuses.
    """
    what = f"bucket {name}"
    if not await _is_there(s3, name, account):
        await making.make(what, partial(_create, s3, name, account))
        return
    await making.adjust(what, [*await _openings(s3, name), *await _lacking_rules(s3, name)])


async def _is_there(s3: Any, name: str, account: Account) -> bool:
    async def look() -> bool:
        with translated(f"look for bucket {name}"):
            await s3.head_bucket(Bucket=name, ExpectedBucketOwner=account.number)
        return True

    try:
        return bool(await found(look()))
    except Unavailable as error:
        if reason_of(error) != "unauthorized":
            raise
        raise SettingsError(
            f"Bucket {name} is another account's, or may not be looked at (s3:ListBucket): names "
            "of buckets are taken for all accounts at once."
        ) from error


async def _create(s3: Any, name: str, account: Account) -> None:
    place = {"LocationConstraint": account.region}
    elsewhere = account.region != _WITHOUT_LOCATION
    options = {"CreateBucketConfiguration": place} if elsewhere else {}
    arn = f"arn:{account.partition}:s3:::{name}"
    tls_only = over_tls_only(s3, "s3:*", arn, f"{arn}/*")
    with translated(f"make bucket {name}"):
        await s3.create_bucket(Bucket=name, **options)
    await _block(s3, name)
    if tls_only:
        with translated(f"set the policy of bucket {name}"):
            await s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy(tls_only)))
    await _put_rules(s3, name, _wanted_rules(), {})


async def _openings(s3: Any, name: str) -> list[Difference]:
    async def look() -> Mapping[str, Any]:
        with translated(f"read how bucket {name} blocks public access"):
            return dict(await s3.get_public_access_block(Bucket=name))

    answer = await found(look()) or {}
    has = answer.get("PublicAccessBlockConfiguration", {})
    missing = [option for option in _ALL_BLOCKED if not has.get(option)]
    if not missing:
        return []
    detail = f"it lets the public in, as far as {', '.join(missing)} would not"
    return [Difference(detail, partial(_block, s3, name))]


async def _block(s3: Any, name: str) -> None:
    with translated(f"block public access to bucket {name}"):
        await s3.put_public_access_block(
            Bucket=name, PublicAccessBlockConfiguration=dict(_ALL_BLOCKED)
        )


async def _lacking_rules(s3: Any, name: str) -> list[Difference]:
    async def look() -> Mapping[str, Any]:
        with translated(f"read the lifecycle rules of bucket {name}"):
            return dict(await s3.get_bucket_lifecycle_configuration(Bucket=name))

    answer = await found(look()) or {}
    rules: Sequence[_Rule] = answer.get("Rules", ())
    early = list(_too_early(rules))
    lacking = [rule for rule in _wanted_rules() if not _has(rules, rule)]
    if lacking:
        taken = {rule["ID"] for rule in lacking}
        kept = [rule for rule in rules if rule.get("ID") not in taken]
        names = ", ".join(f"{rule['Filter']['Prefix'] or 'uploads'}" for rule in lacking)
        early.append(
            Difference(
                f"no lifecycle rule for {names}",
                partial(_put_rules, s3, name, [*kept, *lacking], answer),
            )
        )
    return early


async def _put_rules(s3: Any, name: str, rules: Sequence[_Rule], had: Mapping[str, Any]) -> None:
    """All rules at once, which is how S3 takes them; what else was said of them stays."""
    size = "TransitionDefaultMinimumObjectSize"
    options = {size: had[size]} if size in had else {}
    with translated(f"set the lifecycle rules of bucket {name}"):
        await s3.put_bucket_lifecycle_configuration(
            Bucket=name, LifecycleConfiguration={"Rules": list(rules)}, **options
        )


def _wanted_rules() -> list[dict[str, Any]]:
    expiring = [
        {
            "ID": f"queue-agent-{folder}",
            "Status": "Enabled",
            "Filter": {"Prefix": f"{folder}/"},
            "Expiration": {"Days": LONGEST_KEPT},
        }
        for folder in AS_LONG_AS_MESSAGES
    ]
    uploads = {
        "ID": _UPLOADS,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _UPLOAD_DAYS},
    }
    return [*expiring, uploads]


def _has(rules: Sequence[_Rule], wanted: _Rule) -> bool:
    """Whether a rule in force does for the same objects what the wanted one does."""
    deed = "Expiration" if "Expiration" in wanted else "AbortIncompleteMultipartUpload"
    over = [*_over(rules, wanted["Filter"]["Prefix"])]
    if any(rule.get("ID") == wanted["ID"] for rule in rules):
        return any(
            rule.get("ID") == wanted["ID"] and rule.get(deed) == wanted[deed] for rule in over
        )
    return any(key.startswith("Days") for rule in over for key in rule.get(deed, {}))


def _too_early(rules: Sequence[_Rule]) -> Iterator[Difference]:
    """What the bucket's own rules remove while a queue may still hold its message."""
    for wanted in _wanted_rules():
        folder = wanted["Filter"]["Prefix"]
        for rule in _over(rules, folder):
            days = rule.get("Expiration", {}).get("Days", LONGEST_KEPT)
            if "Expiration" in wanted and rule.get("ID") != wanted["ID"] and days < LONGEST_KEPT:
                yield Difference(
                    f"its rule {rule.get('ID', 'without a name')!r} removes {folder} after "
                    f"{days} days, and messages may wait for {LONGEST_KEPT}; it is not changed, "
                    "since others made it",
                    None,
                )


def _over(rules: Sequence[_Rule], folder: str) -> Iterator[_Rule]:
    """The rules in force for all objects of a folder."""
    for rule in rules:
        chosen: Mapping[str, Any] = rule.get("Filter", {"Prefix": rule.get("Prefix", "")})
        if (
            rule.get("Status") == "Enabled"
            and chosen.keys() <= _SAYS_WHICH
            and folder.startswith(chosen.get("Prefix", ""))
        ):
            yield rule
