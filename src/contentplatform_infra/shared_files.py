"""The shared file system, and the small network in which it can be mounted. Off by default: it costs what it holds.

The network has no way to the internet and none back: who mounts comes through a peering, a VPN or an instance in it.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import Fn, RemovalPolicy, Tags, aws_ec2, aws_efs
from constructs import Construct

from contentplatform.config import Settings

FILE_SYSTEM_NAME: Final = "content-platform-efs"
NFS_PORT: Final = 2049
_FOLDER: Final = "/files"
"""Mounted through the access point: a new file system's root belongs to root, and nobody here is root."""
_OWNER: Final = "1000"
_NETWORK: Final = "10.73.0.0/24"
_SUBNETS: Final = ("10.73.0.0/26", "10.73.0.64/26")
"""One a zone; in each a mount target."""


class SharedFiles(Construct):
    """The file system with a mount target in each of two zones, reachable by NFS from inside the network only."""

    def __init__(self, scope: Construct, construct_id: str, settings: Settings) -> None:
        super().__init__(scope, construct_id)
        provisioned_mibps = settings.aws.shared_files_throughput_mibps
        self.file_system = aws_efs.CfnFileSystem(
            self,
            "FileSystem",
            encrypted=True,
            performance_mode="generalPurpose",
            throughput_mode="provisioned" if provisioned_mibps else "elastic",
            provisioned_throughput_in_mibps=provisioned_mibps or None,
            lifecycle_policies=[
                aws_efs.CfnFileSystem.LifecyclePolicyProperty(transition_to_ia="AFTER_30_DAYS"),
                aws_efs.CfnFileSystem.LifecyclePolicyProperty(transition_to_primary_storage_class="AFTER_1_ACCESS"),
            ],
            backup_policy=aws_efs.CfnFileSystem.BackupPolicyProperty(status="ENABLED"),
            file_system_policy=_policy(),
        )
        Tags.of(self.file_system).add("Name", FILE_SYSTEM_NAME)
        self.file_system.apply_removal_policy(RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)
        aws_efs.CfnAccessPoint(
            self,
            "Folder",
            file_system_id=self.file_system.ref,
            posix_user=aws_efs.CfnAccessPoint.PosixUserProperty(uid=_OWNER, gid=_OWNER),
            root_directory=aws_efs.CfnAccessPoint.RootDirectoryProperty(
                path=_FOLDER,
                creation_info=aws_efs.CfnAccessPoint.CreationInfoProperty(
                    owner_uid=_OWNER, owner_gid=_OWNER, permissions="0770"
                ),
            ),
        )
        network = aws_ec2.CfnVPC(
            self, "Network", cidr_block=_NETWORK, enable_dns_support=True, enable_dns_hostnames=True
        )
        group = aws_ec2.CfnSecurityGroup(
            self,
            "Nfs",
            group_description="NFS to the shared files, from inside their network",
            vpc_id=network.attr_vpc_id,
            security_group_ingress=[
                aws_ec2.CfnSecurityGroup.IngressProperty(
                    ip_protocol="tcp",
                    from_port=NFS_PORT,
                    to_port=NFS_PORT,
                    cidr_ip=_NETWORK,
                    description="NFS from inside the network",
                )
            ],
            security_group_egress=[
                aws_ec2.CfnSecurityGroup.EgressProperty(
                    ip_protocol="tcp",
                    from_port=NFS_PORT,
                    to_port=NFS_PORT,
                    cidr_ip=_NETWORK,
                    description="Nothing but answers within the network",
                )
            ],
        )
        for number, block in enumerate(_SUBNETS):
            subnet = aws_ec2.CfnSubnet(
                self,
                f"Subnet{number}",
                vpc_id=network.attr_vpc_id,
                cidr_block=block,
                availability_zone=Fn.select(number, Fn.get_azs()),
                map_public_ip_on_launch=False,
            )
            aws_efs.CfnMountTarget(
                self,
                f"MountTarget{number}",
                file_system_id=self.file_system.ref,
                subnet_id=subnet.attr_subnet_id,
                security_groups=[group.attr_group_id],
            )


def _policy() -> dict[str, object]:
    """Mounting and writing through a mount target, over TLS; nobody is root."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "OnlyThroughMountTargets",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
                "Condition": {"Bool": {"elasticfilesystem:AccessedViaMountTarget": "true"}},
            },
            {
                "Sid": "OnlyOverTls",
                "Effect": "Deny",
                "Principal": {"AWS": "*"},
                "Action": "*",
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }
