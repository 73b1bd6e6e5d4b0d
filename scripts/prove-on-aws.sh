#!/usr/bin/env bash
# Proves on a real AWS account what no emulator can. For a person with an account, once before a release.
#   scripts/prove-on-aws.sh [--data DIR] [--profile NAME] [--region REGION] [--yes] [--short] [--keep]
# --yes    don't ask before it begins     --short  leave out what takes longer than half an hour
# --keep   leave everything standing at the end; else it is deleted, after the suffix has been typed
# Needs: contentplatform with its extra infra, the AWS command line, curl, python3, and port 18080 (or PROVE_PORT) free.
# Exit status: 0 all proved, 1 not all.
set -euo pipefail

data="" profile="" region="" yes="" short="" keep=""
while (($#)); do
  case "$1" in
    --data) data=${2:?--data needs a folder}; shift 2 ;;
    --profile) profile=${2:?--profile needs a name}; shift 2 ;;
    --region) region=${2:?--region needs a name}; shift 2 ;;
    --yes) yes=1; shift ;;
    --short) short=1; shift ;;
    --keep) keep=1; shift ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "there is no option $1; --help tells" >&2; exit 2 ;;
  esac
done

pause=${PROVE_PAUSE_SECONDS:-15} # between two looks at something that takes its time
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
run="_prove-$(date -u +%Y%m%dT%H%M%SZ)"
failed=() passed=0
[[ -n $profile ]] && export AWS_PROFILE="$profile"

platform() { "${CONTENTPLATFORM:-contentplatform}" ${data:+--data "$data"} "$@"; }
on_aws() { platform --home aws "$@"; }
where=(${region:+--region "$region"} ${profile:+--profile "$profile"})

# prove WORDS FUNCTION: one step. It fails with the first command of the function that fails.
prove() {
  local words=$1 status
  shift
  printf '\n== %s\n' "$words"
  set +e
  (set -euo pipefail; "$@")
  status=$?
  set -e
  if ((status == 0)); then
    passed=$((passed + 1))
    printf 'PASS  %s\n' "$words"
  else
    failed+=("$words")
    printf 'FAIL  %s\n' "$words"
  fi
}

# until_true TRIES COMMAND…: look again and again; the last look's status.
until_true() {
  local tries=$1 try
  shift
  for ((try = 1; try <= tries; try++)); do
    if "$@"; then return 0; fi
    ((try < tries)) && sleep "$pause"
  done
  echo "not so after $tries looks: $*" >&2
  return 1
}

field() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
header() { tr -d '\r' <"$1" | awk -F': ' -v name="$2" 'tolower($1) == name { print $2 }' | tail -n 1; }
parameter() { aws ssm get-parameter --region "$home_region" --name "$1" --query Parameter.Value --output text "${@:2}"; }

# -- the steps -----------------------------------------------------------------------------------------------------

deployed() { platform deploy "${where[@]}" --yes --no-verify --out "$scratch/cdk.out"; }
verified() { on_aws verify; }

make_photo() { # FILE SEED: a picture of 640×480 that no other seed gives
  python3 - "$1" "$2" <<'PYTHON'
import struct, sys, zlib
seed = int(sys.argv[2])
rows = b"".join(
    b"\0" + b"".join(bytes(((x + seed) % 256, (y * 2 + seed) % 256, (x * y) % 256)) for x in range(640)) for y in range(480)
)
def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
head = struct.pack(">IIBBBBB", 640, 480, 8, 2, 0, 0, 0)
with open(sys.argv[1], "wb") as file:
    file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
PYTHON
}

is_there() { aws s3api head-object --bucket "$1" --key "$2" "${@:3}" >"$scratch/head.json" 2>/dev/null; }

uploads_are_processed() {
  make_photo "$scratch/photo.png" 1
  printf 'A document of words.\n' >"$scratch/words.txt"
  aws s3 cp --region "$home_region" "$scratch/photo.png" "s3://$primary/$run/photo.png"
  aws s3 cp --region "$home_region" "$scratch/photo.png" "s3://$primary/private/$run/photo.png"
  aws s3 cp --region "$home_region" "$scratch/words.txt" "s3://$primary/$run/a b ü.txt"
  local rendition
  for rendition in "processed/thumbnails/$run/photo.png.jpg" "processed/medium/$run/photo.png.jpg" \
    "processed/webp/$run/photo.png.webp" "processed/thumbnails/private/$run/photo.png.jpg"; do
    until_true 40 is_there "$processed" "$rendition" --region "$home_region"
  done
  on_aws show "$run/photo.png" >/dev/null
  on_aws show "$run/a b ü.txt" >/dev/null
}

make_media() { # FOLDER: a sound of one second (WAV), a page (PDF)
  python3 - "$1" <<'PYTHON'
import math, struct, sys, wave
folder = sys.argv[1]
with wave.open(f"{folder}/tone.wav", "wb") as file:
    file.setparams((1, 2, 8_000, 0, "NONE", ""))
    file.writeframes(b"".join(struct.pack("<h", int(9_000 * math.sin(n / 3))) for n in range(8_000)))
words = b"BT /F1 24 Tf 72 700 Td (A page of words) Tj ET"
parts = [
    b"<< /Type /Catalog /Pages 2 0 R >>",
    b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
    b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
    b"<< /Length %d >>\nstream\n%s\nendstream" % (len(words), words),
    b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
]
made, places = b"%PDF-1.4\n", []
for number, part in enumerate(parts, 1):
    places.append(len(made))
    made += b"%d 0 obj\n%s\nendobj\n" % (number, part)
table = b"".join(b"%010d 00000 n \n" % place for place in places)
end = b"xref\n0 6\n0000000000 65535 f \n%strailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (table, len(made))
with open(f"{folder}/page.pdf", "wb") as file:
    file.write(made + end)
PYTHON
}

films_sounds_and_documents_are_processed() {
  make_media "$scratch"
  local file rendition
  for file in tone.wav page.pdf; do
    aws s3 cp --region "$home_region" "$scratch/$file" "s3://$primary/$run/$file"
  done
  for rendition in "processed/audio/$run/tone.wav.m4a" "processed/audio/$run/tone.wav.opus" \
    "processed/waveforms/$run/tone.wav.png" "processed/text/$run/page.pdf.txt"; do
    until_true 60 is_there "$processed" "$rendition" --region "$home_region"
  done
  # The film is that of verify, which looked at what was made of it.
  aws mediaconvert list-jobs --region "$home_region" --status COMPLETE --max-results 20 \
    --query 'Jobs[].UserMetadata.execution' --output text | grep -q process-
}

asked() { # URL [STATUS [OPTION…]]: ask the edge, with options of curl; headers and body are kept
  local status
  status=$(curl -sS -o "$scratch/body" -D "$scratch/headers" -w '%{http_code}' "${@:3}" "$1")
  [[ $status == "${2:-200}" ]] || { echo "$1 answered $status, not ${2:-200}" >&2; return 1; }
}
asked_and_hit() { asked "$1" && [[ $(header "$scratch/headers" x-cache) == *Hit* ]]; }
body_differs_from() { asked "$1" && ! cmp -s "$scratch/body" "$2"; }

edge_caches() {
  local url="https://$domain/processed/thumbnails/$run/photo.png.jpg"
  asked "$url"
  cp "$scratch/body" "$scratch/thumbnail-1"
  until_true 5 asked_and_hit "$url"
  asked "${url/https:/http:}" 301
  asked "https://$domain/processed/thumbnails/$run/nothing.jpg" 403 || asked "https://$domain/processed/thumbnails/$run/nothing.jpg" 404
}

replaced_files_leave_the_edge() {
  make_photo "$scratch/photo-2.png" 90
  aws s3 cp --region "$home_region" "$scratch/photo-2.png" "s3://$primary/$run/photo.png"
  until_true 40 body_differs_from "https://$domain/processed/thumbnails/$run/photo.png.jpg" "$scratch/thumbnail-1"
  aws cloudfront list-invalidations --distribution-id "$distribution" --query 'length(InvalidationList.Items)' --output text |
    grep -qv '^0$'
}

signed() { # URL: the same with a signature for ten minutes
  [[ -s $scratch/key.pem ]] ||
    (umask 077 && parameter /contentplatform/cloudfront/signing-key --with-decryption >"$scratch/key.pem")
  aws cloudfront sign --url "$1" --private-key "file://$scratch/key.pem" \
    --key-pair-id "$(parameter /contentplatform/cloudfront/key-pair-id)" \
    --date-less-than "$(python3 -c 'import time; print(int(time.time()) + 600)')"
}

private_files_need_a_signature() {
  local url="https://$domain/processed/thumbnails/private/$run/photo.png.jpg"
  asked "$url" 403
  asked "$(signed "$url")"
}

pictures_are_made_on_the_fly() {
  local format free function_url url="https://$domain/images/t_square-96/$run/photo.png"
  for format in webp avif; do
    asked "$url" 200 -H "Accept: image/$format"
    [[ $(header "$scratch/headers" content-type) == "image/$format" ]]
  done
  until_true 5 asked_and_hit "$url"
  for free in "w_200/$run/photo.png" "t_square-96/private/$run/photo.png"; do
    asked "https://$domain/images/$free" 403
    asked "$(signed "https://$domain/images/$free")"
  done
  # The edge signs its calls of the function: to anybody else its own address says no.
  function_url=$(aws lambda get-function-url-config --region "$home_region" --function-name content-image-transformer \
    --qualifier live --query FunctionUrl --output text)
  asked "${function_url%/}/images/t_square-96/$run/photo.png" 403
}

# One upload over HTTP, from a server on this machine whose bytes go straight to S3.
api() { # METHOD PATH [OPTION…]: ask that server, as the user of this step
  curl -sS -f -X "$1" -H "@$scratch/token" "${@:3}" "http://127.0.0.1:$port/api/v1$2"
}
cut_parts() { # what each part has, where it goes, and what its request says, as files
  python3 - "$scratch" <<'PYTHON'
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
whole = (folder / "direct.bin").read_bytes()
for part in json.loads((folder / "upload.json").read_text())["parts"]:
    name, begin = f"part-{part['number']}", part["first_byte"]
    (folder / name).write_bytes(whole[begin : begin + part["size_bytes"]])
    (folder / f"{name}.url").write_text(part["url"])
    (folder / f"{name}.headers").write_text("".join(f"{header}: {value}\n" for header, value in part["headers"].items()))
PYTHON
}
put_part() { # BODY PART STATUS: send S3 a body as this part
  local status
  status=$(curl -sS -o "$scratch/body" -w '%{http_code}' -T "$1" -H "@$2.headers" "$(<"$2.url")")
  [[ $status == "$3" ]] || { echo "S3 answered $status, not $3" >&2; return 1; }
}
uploads_go_straight_to_s3() {
  local port=${PROVE_PORT:-18080} user="prove-$$" key="$run/direct.bin" upload part served
  "${CONTENTPLATFORM:-contentplatform}" ${data:+--data "$data"} --home aws serve --port "$port" >"$scratch/served" 2>&1 &
  served=$!
  trap "kill $served 2>/dev/null || true; wait $served || true; on_aws users remove $user --yes >/dev/null || true" EXIT
  until_true 8 curl -sS -f -o /dev/null "http://127.0.0.1:$port/health/ready"
  on_aws users add "$user" --role editor --generate >/dev/null
  (umask 077 && printf 'Authorization: Bearer %s\n' \
    "$(on_aws tokens add "$user" direct --scope read --scope write --days 1)" >"$scratch/token")
  head -c 20000000 /dev/urandom >"$scratch/direct.bin"
  api POST /uploads -H 'Content-Type: application/json' \
    -d "{\"key\": \"$key\", \"size_bytes\": 20000000, \"direct\": true}" >"$scratch/upload.json"
  [[ $(field direct <"$scratch/upload.json") == True ]]
  upload=$(field id <"$scratch/upload.json")
  cut_parts
  printf 'x' >"$scratch/other"
  put_part "$scratch/other" "$scratch/part-1" 403 # its address is signed for so many bytes
  for part in "$scratch"/part-*.url; do put_part "${part%.url}" "${part%.url}" 200; done
  api POST "/uploads/$upload/complete" >"$scratch/upload.json"
  is_there "$primary" "$key" --region "$home_region"
  [[ $(field VersionId <"$scratch/head.json") == "$(field version_id <"$scratch/upload.json")" ]]
  until_true 40 on_aws show "$key" >/dev/null
  on_aws get "$key" -o "$scratch/direct-back.bin"
  cmp "$scratch/direct.bin" "$scratch/direct-back.bin"
}

second_copy_is_there() {
  until_true 60 is_there "$backup" "$run/photo.png" --region "$backup_region"
  [[ $(field StorageClass <"$scratch/head.json") == GLACIER_IR ]]
  [[ $(field ReplicationStatus <"$scratch/head.json") == REPLICA ]]
  local copy
  copy=$(field VersionId <"$scratch/head.json")
  is_there "$primary" "$run/photo.png" --region "$home_region"
  [[ $(field VersionId <"$scratch/head.json") == "$copy" ]]
}

lifecycle_is_in_force() {
  aws s3api get-bucket-lifecycle-configuration --region "$home_region" --bucket "$primary" \
    --query "Rules[?ID=='intelligent-content-tiering'].Transitions[].[Days,StorageClass]" --output text |
    tr -s '[:space:]' ' ' | grep -q '30 STANDARD_IA.*90 GLACIER_IR.*365 GLACIER .*1095 DEEP_ARCHIVE'
}

athena_answers() {
  local id
  id=$(aws athena start-query-execution --region "$home_region" --work-group "$workgroup" \
    --query-string 'SELECT count(*) FROM content_analytics.s3_access_logs' --query QueryExecutionId --output text)
  until_true 20 athena_succeeded "$id"
}
athena_succeeded() {
  [[ $(aws athena get-query-execution --region "$home_region" --query-execution-id "$1" \
    --query QueryExecution.Status.State --output text) == SUCCEEDED ]]
}

alarms_have_data() { until_true 80 no_alarm_is_blind; }
no_alarm_is_blind() {
  local blind
  blind=$(aws cloudwatch describe-alarms --region "$home_region" --state-value INSUFFICIENT_DATA \
    --query "MetricAlarms[?TreatMissingData!='missing'].AlarmName" --output text)
  [[ -z $blind || $blind == None ]] || { echo "without data: $blind"; return 1; }
}

config_rules_are_met() { until_true 80 versioning_is_compliant; }
versioning_is_compliant() {
  [[ $(aws configservice describe-compliance-by-config-rule --region "$home_region" \
    --config-rule-names s3-bucket-versioning-enabled \
    --query 'ComplianceByConfigRules[0].Compliance.ComplianceType' --output text) == COMPLIANT ]]
}

budget_is_there() {
  aws budgets describe-budget --account-id "$account" --budget-name ContentPlatformMonthlyBudget \
    --query Budget.BudgetLimit.Amount --output text
}

decision() { # ROLE ACTION RESOURCE: what IAM would answer
  aws iam simulate-principal-policy --policy-source-arn "arn:aws:iam::$account:role/$1" --action-names "$2" \
    --resource-arns "$3" --query 'EvaluationResults[0].EvalDecision' --output text
}
least_privilege_holds() {
  [[ $(decision content-image-processor-role s3:PutObject "arn:aws:s3:::$processed/processed/thumbnails/x") == allowed ]]
  local bucket
  for bucket in "$primary" "$backup"; do
    [[ $(decision content-image-processor-role s3:DeleteObject "arn:aws:s3:::$bucket/x") != allowed ]]
  done
  [[ $(decision content-image-processor-role iam:PassRole "arn:aws:iam::$account:role/MediaConvertRole") != allowed ]]
  [[ $(decision MediaConvertRole s3:GetObject "arn:aws:s3:::$primary/x") != allowed ]]
}
guards_hold() {
  if aws s3api delete-bucket-policy --region "$home_region" --bucket "$primary" 2>"$scratch/refusal"; then
    echo "anybody may take the policy of $primary away" >&2
    return 1
  fi
  grep -q AccessDenied "$scratch/refusal"
}

archived_files_come_back() {
  local key="$run/archived.png"
  aws s3 cp --region "$home_region" --storage-class GLACIER "$scratch/photo.png" "s3://$primary/$key"
  if aws s3api get-object --region "$home_region" --bucket "$primary" --key "$key" "$scratch/archived" 2>"$scratch/refusal"; then
    echo "it was not archived" >&2
    return 1
  fi
  grep -q InvalidObjectState "$scratch/refusal"
  aws s3api restore-object --region "$home_region" --bucket "$primary" --key "$key" \
    --restore-request 'Days=1,GlacierJobParameters={Tier=Expedited}'
  until_true 60 is_restored "$key"
  aws s3api get-object --region "$home_region" --bucket "$primary" --key "$key" "$scratch/archived" >/dev/null
  cmp "$scratch/photo.png" "$scratch/archived"
}
is_restored() {
  is_there "$primary" "$1" --region "$home_region" && field Restore <"$scratch/head.json" | grep -q 'ongoing-request="false"'
}

data_outlive_the_stacks() {
  platform destroy "${where[@]}" --yes || true # what is left is told; whether data come back is what counts here
  deployed
  on_aws get "$run/photo.png" -o "$scratch/back.png"
  cmp "$scratch/photo-2.png" "$scratch/back.png"
}

everything_goes() { platform destroy "${where[@]}" --delete-data; }

# -- the run -------------------------------------------------------------------------------------------------------

for tool in "${CONTENTPLATFORM:-contentplatform}" aws curl python3; do
  command -v "$tool" >/dev/null || { echo "$tool is not on the path" >&2; exit 2; }
done
account=$(aws sts get-caller-identity --query Account --output text)
cat <<WORDS
This deploys the platform into account $account, puts a few small files through it, looks at what only AWS can show,
and deletes everything again at the end.
It costs about 1 USD: an encryption key, alarms and rules by the hour (less than 0.20 a day), one expedited restore
(0.03), a few hundred requests, and configuration items (0.003 each, a few hundred). Forgotten, about 3 USD a month.
It takes about an hour and a half; with --short half an hour.
WORDS
if [[ -z $yes ]]; then
  read -r -p "Begin? [y/N] " answer
  [[ $answer == [yY]* ]] || { echo "Nothing was done."; exit 0; }
fi

prove "it is deployed, in two regions" deployed
told=$(platform --json outputs "${where[@]}") || { echo "FAIL  nothing is deployed; the rest can't be tried"; exit 1; }
home_region=$(field region <<<"$told")
backup_region=$(field backup_region <<<"$told")
suffix=$(field bucket_suffix <<<"$told")
primary=content-platform-primary-$suffix processed=content-platform-processed-$suffix backup=content-platform-backup-$suffix
domain=$(parameter /contentplatform/cloudfront/domain-name)
distribution=$(parameter /contentplatform/cloudfront/distribution-id)
workgroup=${PROVE_WORKGROUP:-content-platform}

prove "files go through, everything that verify looks at is healthy" verified
prove "files put into S3 by anybody's tool are processed" uploads_are_processed
prove "MediaConvert encoded a film, a sound and a document are processed" films_sounds_and_documents_are_processed
prove "the edge serves, caches, and sends to HTTPS" edge_caches
prove "a replaced file leaves the edge's cache" replaced_files_leave_the_edge
prove "private files need a signature, and get one" private_files_need_a_signature
prove "pictures are made on the fly, by the edge alone" pictures_are_made_on_the_fly
prove "an upload's parts go straight to S3, and no other bytes" uploads_go_straight_to_s3
prove "the second copy arrives in $backup_region, as GLACIER_IR, the same version" second_copy_is_there
prove "the lifecycle rule is in force" lifecycle_is_in_force
prove "Athena answers" athena_answers
prove "the budget is there" budget_is_there
prove "a function may do its own work only" least_privilege_holds
prove "the buckets' policies can't be taken away" guards_hold
prove "an archived file comes back when it is asked for" archived_files_come_back
if [[ -z $short ]]; then
  prove "every alarm sees its metric" alarms_have_data
  prove "Config finds the rules met" config_rules_are_met
  prove "data outlive the stacks, and are taken over again" data_outlive_the_stacks
fi
if [[ -z $keep ]]; then
  prove "everything is gone at the end" everything_goes
else
  printf '\nEverything is left standing. Later: contentplatform destroy --delete-data\n'
fi

printf '\n%d proved, %d not.\n' "$passed" "${#failed[@]}"
for words in ${failed[@]+"${failed[@]}"}; do printf 'FAIL  %s\n' "$words"; done
((${#failed[@]} == 0))
