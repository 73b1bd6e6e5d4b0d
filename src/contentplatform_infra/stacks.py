"""The stacks. They wire constructs and nothing else; names and settings are handed through.

What the AWS emulator's CloudFormation refuses stands in stacks of its own, because one unknown type makes it refuse a
whole template: keys, delivery logs, governance, audit.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, Final

import jsii
from aws_cdk import Environment, IStableStringProducer, Lazy, Stack
from constructs import Construct

from contentplatform.catalog.tables import METADATA
from contentplatform.config import Settings
from contentplatform.storage.port import BucketRole
from contentplatform_infra.alerts import AlertsTopic, topic_arn
from contentplatform_infra.analytics import Analytics, SavedQuestions
from contentplatform_infra.audit import Audit
from contentplatform_infra.catalog import Catalog
from contentplatform_infra.compliance import Compliance
from contentplatform_infra.cost import Budget, CostExport, StorageLens, export_grants
from contentplatform_infra.delivery import AccessLog, Delivery, SigningKeys, access_log_grant, mediaconvert_parameter
from contentplatform_infra.firewall import Firewall
from contentplatform_infra.functions import CALLED_BY_URL, Functions, Triggers
from contentplatform_infra.guards import BreakGlass
from contentplatform_infra.monitoring import Alarms, Dashboard, ShareAlarms, Watched
from contentplatform_infra.names import Names
from contentplatform_infra.quicksight import QuickSight
from contentplatform_infra.rights import Places
from contentplatform_infra.schedules import Schedules
from contentplatform_infra.second_copy import SecondCopy
from contentplatform_infra.shared_files import SharedFiles
from contentplatform_infra.storage import Storage, Told
from contentplatform_infra.uploads import Uploads
from contentplatform_infra.workflow import MediaConvertRole, Workflow


class StackName(StrEnum):
    """The stacks, in the order in which they are deployed."""

    BACKUP = "ContentPlatformBackup"
    KEYS = "ContentPlatformKeys"
    MAIN = "ContentPlatform"
    DELIVERY_LOGS = "ContentPlatformDeliveryLogs"
    GOVERNANCE = "ContentPlatformGovernance"
    AUDIT = "ContentPlatformAudit"


OPTION_OF: Final[Mapping[str, StackName]] = {
    "backup": StackName.BACKUP,
    "keys": StackName.KEYS,
    "main": StackName.MAIN,
    "delivery-logs": StackName.DELIVERY_LOGS,
    "governance": StackName.GOVERNANCE,
    "audit": StackName.AUDIT,
}
"""How ``--only`` calls them."""


class PlatformStack(Stack):
    """One stack of the platform: its name, what it is for, and which others have to stand before it."""

    name: ClassVar[StackName]
    holds: ClassVar[str]
    needs: ClassVar[tuple[StackName, ...]] = ()
    in_backup_region: ClassVar[bool] = False
    keeps_data: ClassVar[bool] = False

    def __init__(self, scope: Construct, settings: Settings, names: Names) -> None:
        region = names.backup_region if self.in_backup_region else names.region
        super().__init__(
            scope,
            self.name.value,
            stack_name=self.name.value,
            description=f"Content Platform: {self.holds}",
            env=Environment(account=names.account_id, region=region),
            termination_protection=self.keeps_data,
        )
        self.wire(settings, names)

    def wire(self, settings: Settings, names: Names) -> None:
        """Build the constructs and hand them to each other."""


class BackupStack(PlatformStack):
    """The buckets of the backup region, which replication has to find."""

    name = StackName.BACKUP
    holds = "the second copy and its access logs"
    in_backup_region = True
    keeps_data = True

    def wire(self, settings: Settings, names: Names) -> None:
        BreakGlass(self, "BreakGlass", names)
        SecondCopy(self, "SecondCopy", settings, names)


class KeysStack(PlatformStack):
    """The public half of the key that signs URLs of private files."""

    name = StackName.KEYS
    holds = "the key that signed URLs are checked with"

    def wire(self, settings: Settings, names: Names) -> None:
        del settings, names
        SigningKeys(self, "Keys")


@jsii.implements(IStableStringProducer)
class Address:
    """Of what makes pictures. The edge needs it, and other functions the edge's name: so it is told afterwards."""

    text = ""

    def produce(self) -> str:
        """The address, once it is known."""
        return self.text


class MainStack(PlatformStack):
    """The platform itself."""

    name = StackName.MAIN
    holds = "storage, catalog, processing, delivery and what watches them"
    needs = (StackName.BACKUP, StackName.KEYS)
    keeps_data = True

    def wire(self, settings: Settings, names: Names) -> None:
        uploads = Uploads(self, "Uploads", names)
        alerts = AlertsTopic(self, "Alerts", settings, names)
        storage = Storage(self, "Storage", settings, names, uploads, Told(topic_arn(names), alerts.needs))
        catalog = Catalog(self, "Catalog", settings, names)
        firewall = Firewall(self, "Firewall") if settings.aws.web_application_firewall else None
        address = Address()
        delivery = Delivery(
            self,
            "Delivery",
            settings=settings,
            names=names,
            pictures_url=Lazy.string(address),
            firewall_arn=firewall.arn if firewall else None,
        )
        storage.grant_read_to_edge(delivery.distribution_arn)
        for grant in (access_log_grant(names), *export_grants(names)):
            storage.allow(BucketRole.ANALYTICS, grant)
        places = Places(
            names,
            catalog.tables[METADATA.name].attr_stream_arn,
            delivery.distribution_arn,
            settings.aws.mediaconvert_queue,
        )
        functions = Functions(self, "Functions", settings=settings, places=places)
        address.text = functions.pictures_url
        delivery.let_call(functions[CALLED_BY_URL])
        Triggers(
            self,
            "Triggers",
            settings=settings,
            places=places,
            functions=functions,
            uploads_queue_arn=uploads.queue.attr_arn,
        )
        Workflow(self, "Workflow", settings=settings, names=names, functions=functions)
        converter = MediaConvertRole(self, "MediaConvert", names=names)
        mediaconvert_parameter(converter, converter.role.role_arn)
        Schedules(
            self,
            "Schedules",
            names=names,
            functions={name: alias.function_arn for name, alias in functions.aliases.items()},
            failed_calls_arn=functions.failed_calls.queue_arn,
        )
        watched = Watched(names, delivery.distribution_id)
        Alarms(self, "Alarms", watched, topic_arn(names))
        Dashboard(self, "Dashboard", watched)
        Analytics(self, "Analytics", names)
        if settings.aws.shared_files:
            SharedFiles(self, "SharedFiles", settings)


class DeliveryLogsStack(PlatformStack):
    """The edge's access log, and its additional metrics."""

    name = StackName.DELIVERY_LOGS
    holds = "the edge's access log and metrics"
    needs = (StackName.MAIN,)

    def wire(self, settings: Settings, names: Names) -> None:
        del settings
        AccessLog(self, "AccessLog", names=names)


class GovernanceStack(PlatformStack):
    """Rules that are checked all the time, the budget, and what costs are reported from."""

    name = StackName.GOVERNANCE
    holds = "compliance rules, budget and cost reports"
    needs = (StackName.MAIN,)

    def wire(self, settings: Settings, names: Names) -> None:
        Compliance(self, "Compliance", settings, names)
        ShareAlarms(self, "Alarms", names, topic_arn(names))
        Budget(self, "Budget", settings, topic_arn(names))
        StorageLens(self, "StorageLens", names)
        CostExport(self, "CostExport", names)
        SavedQuestions(self, "Questions")
        if settings.aws.quicksight:
            QuickSight(self, "QuickSight", names)


class AuditStack(PlatformStack):
    """Who wrote to or deleted from the second copy."""

    name = StackName.AUDIT
    holds = "the trail of every write to the second copy"
    needs = (StackName.BACKUP,)
    in_backup_region = True

    def wire(self, settings: Settings, names: Names) -> None:
        Audit(self, "Audit", names)
        Compliance(self, "Compliance", settings, names)
