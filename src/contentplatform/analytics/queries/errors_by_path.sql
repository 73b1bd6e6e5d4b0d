-- What viewers asked for in vain: by path and status, with the pages that led there.
SELECT
    uri_stem AS path,
    status_code,
    count(*) AS requests,
    count(DISTINCT client_ip) AS viewers,
    max(CASE WHEN referer = '-' THEN NULL ELSE referer END) AS some_referrer
FROM cloudfront_logs
WHERE day BETWEEN :first_day AND :last_day
    AND status_code >= 400
GROUP BY uri_stem, status_code
ORDER BY requests DESC, path, status_code
LIMIT 100
