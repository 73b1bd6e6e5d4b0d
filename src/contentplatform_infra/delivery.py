"""The edge: a distribution rendered from ``delivery.rules``, the key that signs URLs of private files, the access log.

**Private paths fail closed.** With a key group, CloudFront itself refuses what is not signed. Where there is none (the
parameter ``SignedUrls`` is ``no``, as on an emulator that has no key groups), a function in front refuses everything
under those paths: nothing private is ever public because something was not deployed.

**Cache-Control** depends on the query (``v``), and CloudFront chooses no header policy by it: a function behind the
cache sets it. There is no default root object: nothing of the platform is called ``/``, which answers 403.

**Pictures on the fly** come from a function at an address of its own, which answers this distribution only.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import (
    Annotations,
    Aws,
    CfnCondition,
    CfnDynamicReference,
    CfnDynamicReferenceService,
    CfnOutput,
    CfnParameter,
    Fn,
    Stack,
    Token,
)
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from contentplatform.analytics.tables import CLOUDFRONT_FIELDS, CLOUDFRONT_LOGS
from contentplatform.config import Settings
from contentplatform.delivery.image_rules import (
    PICTURES,
    PICTURES_ORIGIN,
    picture_behaviours,
    picture_request_code,
)
from contentplatform.delivery.rules import (
    CACHE_POLICIES,
    CACHED_ERRORS,
    ERROR_CACHE_SECONDS,
    FUNCTION_RUNTIME,
    HEADER_POLICIES,
    HTTP_VERSIONS,
    LOWEST_TLS,
    ORIGINS,
    Behaviour,
    CachePolicy,
    CrossOrigin,
    HeaderPolicy,
    Origin,
    behaviours,
    viewer_request_code,
    viewer_response_code,
)
from contentplatform.processing.mediaconvert_job import ROLE_PARAMETER
from contentplatform.storage.port import BucketRole
from contentplatform_infra.names import Names
from contentplatform_infra.rights import DISTRIBUTION_PARAMETER

DOMAIN_PARAMETER: Final = "/contentplatform/cloudfront/domain-name"
KEY_PAIR_PARAMETER: Final = "/contentplatform/cloudfront/key-pair-id"
KEY_GROUP_PARAMETER: Final = "/contentplatform/cloudfront/key-group-id"
SIGNED_URLS: Final = "SignedUrls"
SIGNING_PUBLIC_KEY: Final = "SigningPublicKey"
SIGNING_KEY_CONTEXT: Final = "contentplatform:signing-key"
"""Of the CDK's app: the fingerprint of the key that signs URLs."""
ACCESS_LOG_SOURCE: Final = "content-platform-edge"
ACCESS_LOG_REGION: Final = "us-east-1"
"""Where AWS delivers the edge's log from, whatever the region of everything else."""
ACCESS_LOG_FIELDS: Final = (
    "date",
    "time",
    "x-edge-location",
    "sc-bytes",
    "c-ip",
    "cs-method",
    "cs(Host)",
    "cs-uri-stem",
    "sc-status",
    "cs(Referer)",
    "cs(User-Agent)",
    "cs-uri-query",
    "cs(Cookie)",
    "x-edge-result-type",
    "x-edge-request-id",
    "x-host-header",
    "cs-protocol",
    "cs-bytes",
    "time-taken",
    "x-forwarded-for",
    "ssl-protocol",
    "ssl-cipher",
    "x-edge-response-result-type",
    "cs-protocol-version",
    "fle-status",
    "fle-encrypted-fields",
    "c-port",
    "time-to-first-byte",
    "x-edge-detailed-result-type",
    "sc-content-type",
    "sc-content-len",
    "sc-range-start",
    "sc-range-end",
)
"""The standard log's fields, in the order of the table's columns."""
_PRICE_CLASS: Final = "PriceClass_100"
"""North America and Europe: the cheapest. Others are served from there."""
_REFUSE_CODE: Final = """function handler(event) {
  return { statusCode: 403, statusDescription: 'Forbidden' };
}
"""
_YES, _NO = "yes", "no"


class SigningKeys(Construct):
    """The public half of the key that signs URLs, in the group that private paths trust.

    CloudFront can't change a key: CloudFormation would fail if it were told to. So each key is a resource of its own,
    named by its fingerprint: the new one is made, then the group changes over, then the old one goes.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        # Not `self`: a parameter's name on the command line is its logical id.
        public_key = CfnParameter(
            scope,
            SIGNING_PUBLIC_KEY,
            description="Public key (PEM, RSA 2048) whose private half signs URLs; `deploy` makes the pair",
        )
        fingerprint = self.node.try_get_context(SIGNING_KEY_CONTEXT) or ""
        name = f"content-platform-signing-{fingerprint}".rstrip("-")
        key = cloudfront.CfnPublicKey(
            self,
            f"Key{fingerprint}",
            public_key_config=cloudfront.CfnPublicKey.PublicKeyConfigProperty(
                caller_reference=name,
                encoded_key=public_key.value_as_string,
                name=name,
                comment="Content Platform: signs URLs of private files",
            ),
        )
        group = cloudfront.CfnKeyGroup(
            self,
            "Group",
            key_group_config=cloudfront.CfnKeyGroup.KeyGroupConfigProperty(
                items=[key.ref], name="content-platform-signing", comment="Content Platform: private files"
            ),
        )
        _parameter(self, "KeyPairId", KEY_PAIR_PARAMETER, key.ref, "Which public key CloudFront checks signatures by")
        _parameter(self, "KeyGroupId", KEY_GROUP_PARAMETER, group.ref, "Which keys private paths of the edge trust")


class Delivery(Construct):
    """The distribution, with its policies and functions, and the parameters by which the platform finds it."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        names: Names,
        pictures_url: str,
        firewall_arn: str | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self._names = names
        parameter = CfnParameter(
            scope,
            SIGNED_URLS,
            allowed_values=[_YES, _NO],
            default=_YES,
            description="no: private paths are refused altogether, as there is no key group to check signatures by",
        )
        self._is_signed = CfnCondition(
            self, "IsSigned", expression=Fn.condition_equals(parameter.value_as_string, _YES)
        )
        self._cache = {policy.name: self._cache_policy_id("Cache", policy) for policy in CACHE_POLICIES}
        self._cache[PICTURES.name] = self._cache_policy_id("Pictures", PICTURES)
        self._headers = {policy.name: self._header_policy(policy) for policy in HEADER_POLICIES}
        self._functions = {
            "request": self._function("Request", "refuse-disguised", viewer_request_code()),
            "picture": self._function("PictureRequest", "ask-for-pictures", picture_request_code()),
            "refuse": self._function("Refuse", "refuse-private", _REFUSE_CODE),
            "versioned": self._function("Versioned", "cache-versioned", viewer_response_code(versioned=True)),
            "unversioned": self._function("Unversioned", "cache-briefly", viewer_response_code(versioned=False)),
        }
        self._access = self._access_control("Access", "content-platform", "s3", "the buckets know")
        self._pictures_access = self._access_control(
            "PicturesAccess", "content-platform-pictures", "lambda", "what makes pictures knows"
        )
        prefix = settings.ingest.private_prefix
        *others, last = behaviours(prefix)
        self.distribution = cloudfront.CfnDistribution(
            self,
            "Distribution",
            distribution_config=cloudfront.CfnDistribution.DistributionConfigProperty(
                enabled=True,
                comment="Content Platform",
                http_version=HTTP_VERSIONS,
                ipv6_enabled=True,
                price_class=_PRICE_CLASS,
                web_acl_id=firewall_arn,
                origins=[*map(self._origin, ORIGINS), self._pictures_origin(pictures_url)],
                default_cache_behavior=self._default_behaviour(last),
                cache_behaviors=[self._behaviour(each) for each in (*others, *picture_behaviours(prefix))],
                custom_error_responses=[
                    cloudfront.CfnDistribution.CustomErrorResponseProperty(
                        error_code=code, error_caching_min_ttl=ERROR_CACHE_SECONDS
                    )
                    for code in CACHED_ERRORS
                ],
                viewer_certificate=cloudfront.CfnDistribution.ViewerCertificateProperty(
                    cloud_front_default_certificate=True, minimum_protocol_version=LOWEST_TLS
                ),
            ),
        )
        self.distribution_id = self.distribution.ref
        self.distribution_arn = names.arn("cloudfront", f"distribution/{self.distribution_id}", region="")
        _parameter(self, "Id", DISTRIBUTION_PARAMETER, self.distribution_id, "The edge")
        domain = self.distribution.attr_domain_name
        _parameter(self, "Domain", DOMAIN_PARAMETER, domain, "The edge's host name")
        CfnOutput(scope, "EdgeDomain", value=domain, description="Where files are served from")

    def _origin(self, origin: Origin) -> cloudfront.CfnDistribution.OriginProperty:
        host = f"{self._names.bucket(origin.bucket)}.s3.{self._names.region_of(origin.bucket)}.amazonaws.com"
        return cloudfront.CfnDistribution.OriginProperty(
            id=origin.name,
            domain_name=host,
            origin_path=origin.folder,
            origin_access_control_id=self._access.attr_id,
            # An origin of S3 is told so by this, even though it has no access identity.
            s3_origin_config=cloudfront.CfnDistribution.S3OriginConfigProperty(origin_access_identity=""),
        )

    def _pictures_origin(self, url: str) -> cloudfront.CfnDistribution.OriginProperty:
        return cloudfront.CfnDistribution.OriginProperty(
            id=PICTURES_ORIGIN.name,
            domain_name=Fn.select(2, Fn.split("/", url)),
            origin_access_control_id=self._pictures_access.attr_id,
            custom_origin_config=cloudfront.CfnDistribution.CustomOriginConfigProperty(
                origin_protocol_policy="https-only",
                origin_ssl_protocols=["TLSv1.2"],
                origin_read_timeout=PICTURES_ORIGIN.timeout_seconds,
            ),
        )

    def _access_control(self, construct_id: str, name: str, kind: str, who: str) -> cloudfront.CfnOriginAccessControl:
        return cloudfront.CfnOriginAccessControl(
            self,
            construct_id,
            origin_access_control_config=cloudfront.CfnOriginAccessControl.OriginAccessControlConfigProperty(
                name=name,
                description=f"Content Platform: {who} the edge by its signature",
                origin_access_control_origin_type=kind,
                signing_behavior="always",
                signing_protocol="sigv4",
            ),
        )

    def let_call(self, function: lambda_.IFunction) -> None:
        """Let this distribution, and nobody else, call the function by its address: AWS asks for both rights."""
        for construct_id, action in (("CallByUrl", "lambda:InvokeFunctionUrl"), ("Call", "lambda:InvokeFunction")):
            by_url = action == "lambda:InvokeFunctionUrl"
            lambda_.CfnPermission(
                self,
                construct_id,
                action=action,
                function_name=function.function_arn,
                principal="cloudfront.amazonaws.com",
                source_arn=self.distribution_arn,
                function_url_auth_type="AWS_IAM" if by_url else None,
                invoked_via_function_url=None if by_url else True,
            )

    def _default_behaviour(self, behaviour: Behaviour) -> cloudfront.CfnDistribution.DefaultCacheBehaviorProperty:
        return cloudfront.CfnDistribution.DefaultCacheBehaviorProperty(
            target_origin_id=behaviour.origin.name,
            viewer_protocol_policy="redirect-to-https",
            allowed_methods=list(behaviour.methods),
            cached_methods=list(behaviour.methods),
            compress=behaviour.cache.compressed,
            cache_policy_id=self._cache[behaviour.cache.name],
            response_headers_policy_id=self._headers[behaviour.headers.name].attr_id,
            origin_request_policy_id=behaviour.origin_request.managed_id if behaviour.origin_request else None,
            function_associations=self._associations(behaviour),
        )

    def _behaviour(self, behaviour: Behaviour) -> cloudfront.CfnDistribution.CacheBehaviorProperty:
        return cloudfront.CfnDistribution.CacheBehaviorProperty(
            path_pattern=behaviour.pattern,
            target_origin_id=behaviour.origin.name,
            viewer_protocol_policy="redirect-to-https",
            allowed_methods=list(behaviour.methods),
            cached_methods=list(behaviour.methods),
            compress=behaviour.cache.compressed,
            cache_policy_id=self._cache[behaviour.cache.name],
            response_headers_policy_id=self._headers[behaviour.headers.name].attr_id,
            origin_request_policy_id=behaviour.origin_request.managed_id if behaviour.origin_request else None,
            trusted_key_groups=self._trusted() if behaviour.private else None,
            function_associations=self._associations(behaviour),
        )

    def _trusted(self) -> list[str]:
        """The key group, by the parameter that its stack writes; where nothing is signed, nothing at all."""
        group = CfnDynamicReference(CfnDynamicReferenceService.SSM, KEY_GROUP_PARAMETER)
        chosen = Fn.condition_if(self._is_signed.logical_id, [group.to_string()], Aws.NO_VALUE)
        return Token.as_list(chosen)

    def _associations(self, behaviour: Behaviour) -> list[cloudfront.CfnDistribution.FunctionAssociationProperty]:
        before = self._functions["picture" if behaviour.origin is PICTURES_ORIGIN else "request"].attr_function_arn
        if behaviour.private:
            refuse = self._functions["refuse"].attr_function_arn
            before = Fn.condition_if(self._is_signed.logical_id, before, refuse).to_string()
        association = cloudfront.CfnDistribution.FunctionAssociationProperty
        associations = [association(event_type="viewer-request", function_arn=before)]
        if not behaviour.told_by_origin:
            behind = self._functions["versioned" if behaviour.versioned else "unversioned"].attr_function_arn
            associations.append(association(event_type="viewer-response", function_arn=behind))
        return associations

    def _function(self, construct_id: str, name: str, code: str) -> cloudfront.CfnFunction:
        return cloudfront.CfnFunction(
            self,
            construct_id,
            name=f"content-platform-{name}",
            auto_publish=True,
            function_code=code,
            function_config=cloudfront.CfnFunction.FunctionConfigProperty(
                comment=f"Content Platform: {name}", runtime=FUNCTION_RUNTIME
            ),
        )

    def _cache_policy_id(self, construct_id: str, policy: CachePolicy) -> str:
        if policy.managed_id:
            return policy.managed_id
        kinds = cloudfront.CfnCachePolicy
        made = kinds(
            self,
            construct_id,
            cache_policy_config=cloudfront.CfnCachePolicy.CachePolicyConfigProperty(
                name=policy.name,
                min_ttl=policy.minimum_seconds,
                default_ttl=policy.default_seconds,
                max_ttl=policy.maximum_seconds,
                parameters_in_cache_key_and_forwarded_to_origin=(
                    cloudfront.CfnCachePolicy.ParametersInCacheKeyAndForwardedToOriginProperty(
                        enable_accept_encoding_gzip=policy.compressed,
                        enable_accept_encoding_brotli=policy.compressed,
                        cookies_config=cloudfront.CfnCachePolicy.CookiesConfigProperty(cookie_behavior="none"),
                        headers_config=kinds.HeadersConfigProperty(
                            header_behavior="whitelist" if policy.headers else "none",
                            headers=list(policy.headers) or None,
                        ),
                        query_strings_config=cloudfront.CfnCachePolicy.QueryStringsConfigProperty(
                            query_string_behavior="whitelist", query_strings=list(policy.query_parameters)
                        ),
                    )
                ),
            ),
        )
        return made.attr_id

    def _header_policy(self, policy: HeaderPolicy) -> cloudfront.CfnResponseHeadersPolicy:
        kinds = cloudfront.CfnResponseHeadersPolicy
        return kinds(
            self,
            "CorsHeaders" if policy.cross_origin else "Headers",
            response_headers_policy_config=kinds.ResponseHeadersPolicyConfigProperty(
                name=policy.name,
                cors_config=_cors(policy.cross_origin) if policy.cross_origin else None,
                security_headers_config=kinds.SecurityHeadersConfigProperty(
                    content_type_options=kinds.ContentTypeOptionsProperty(override=True),
                    content_security_policy=kinds.ContentSecurityPolicyProperty(
                        content_security_policy=policy.content_security_policy, override=True
                    ),
                    referrer_policy=kinds.ReferrerPolicyProperty(referrer_policy=policy.referrer_policy, override=True),
                    strict_transport_security=kinds.StrictTransportSecurityProperty(
                        access_control_max_age_sec=policy.strict_transport_seconds,
                        include_subdomains=True,
                        override=True,
                    ),
                ),
            ),
        )


class AccessLog(Construct):
    """The edge's access log, as files of the analytics bucket, and the metrics beyond the free ones."""

    def __init__(self, scope: Construct, construct_id: str, *, names: Names) -> None:
        super().__init__(scope, construct_id)
        distribution_id = ssm.StringParameter.value_for_string_parameter(self, DISTRIBUTION_PARAMETER)
        if Stack.of(self).region == ACCESS_LOG_REGION:
            self._deliver(names, distribution_id)
        else:
            Annotations.of(self).add_warning_v2(
                "contentplatform:access-log",
                f"The edge's access log is left out: AWS delivers it from {ACCESS_LOG_REGION} only",
            )
        cloudfront.CfnMonitoringSubscription(
            self,
            "Metrics",
            distribution_id=distribution_id,
            monitoring_subscription=cloudfront.CfnMonitoringSubscription.MonitoringSubscriptionProperty(
                realtime_metrics_subscription_config=(
                    cloudfront.CfnMonitoringSubscription.RealtimeMetricsSubscriptionConfigProperty(
                        realtime_metrics_subscription_status="Enabled"
                    )
                )
            ),
        )

    def _deliver(self, names: Names, distribution_id: str) -> None:
        source = logs.CfnDeliverySource(
            self,
            "Source",
            name=ACCESS_LOG_SOURCE,
            log_type="ACCESS_LOGS",
            resource_arn=names.arn("cloudfront", f"distribution/{distribution_id}", region=""),
        )
        folder = CLOUDFRONT_LOGS.folder.rstrip("/")
        destination = logs.CfnDeliveryDestination(
            self,
            "Destination",
            name=ACCESS_LOG_SOURCE,
            destination_resource_arn=f"{names.bucket_arn(BucketRole.ANALYTICS)}/{folder}",
            output_format="w3c",
        )
        delivery = logs.CfnDelivery(
            self,
            "Delivery",
            delivery_source_name=source.name,
            delivery_destination_arn=destination.attr_arn,
            field_delimiter="\t",
            record_fields=list(ACCESS_LOG_FIELDS[:CLOUDFRONT_FIELDS]),
            s3_suffix_path="{yyyy}/{MM}/{dd}/{HH}",
            s3_enable_hive_compatible_path=False,
        )
        delivery.add_resource_dependency(source)


def access_log_grant(names: Names) -> iam.PolicyStatement:
    """What the analytics bucket's policy has to let the log's delivery do."""
    return iam.PolicyStatement(
        sid="AccessLogOfTheEdge",
        principals=[iam.ServicePrincipal("delivery.logs.amazonaws.com")],
        actions=["s3:PutObject"],
        resources=[names.objects_arn(BucketRole.ANALYTICS, CLOUDFRONT_LOGS.folder)],
        conditions={
            "StringEquals": {"aws:SourceAccount": names.account_id},
            "ArnLike": {
                "aws:SourceArn": names.arn("logs", f"delivery-source:{ACCESS_LOG_SOURCE}", region=ACCESS_LOG_REGION)
            },
        },
    )


def mediaconvert_parameter(scope: Construct, role_arn: str) -> None:
    """Where functions find the role that MediaConvert works under."""
    _parameter(scope, "MediaConvertRoleArn", ROLE_PARAMETER, role_arn, "The role of MediaConvert")


def _parameter(scope: Construct, construct_id: str, name: str, value: str, means: str) -> None:
    ssm.CfnParameter(
        scope,
        f"{construct_id}Parameter",
        name=name,
        type="String",
        value=value,
        description=f"Content Platform: {means}",
    )


def _cors(given: CrossOrigin) -> cloudfront.CfnResponseHeadersPolicy.CorsConfigProperty:
    kinds = cloudfront.CfnResponseHeadersPolicy
    return kinds.CorsConfigProperty(
        access_control_allow_credentials=given.credentials,
        access_control_allow_headers=kinds.AccessControlAllowHeadersProperty(items=list(given.headers)),
        access_control_allow_methods=kinds.AccessControlAllowMethodsProperty(items=list(given.methods)),
        access_control_allow_origins=kinds.AccessControlAllowOriginsProperty(items=list(given.origins)),
        access_control_expose_headers=kinds.AccessControlExposeHeadersProperty(items=list(given.exposed)),
        access_control_max_age_sec=given.max_age_seconds,
        origin_override=True,
    )
