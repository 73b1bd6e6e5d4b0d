-- The files that viewers got most often, with the bytes that were sent for them.
SELECT
    uri_stem AS path,
    count(*) AS requests,
    sum(bytes_sent) AS bytes
FROM cloudfront_logs
WHERE day BETWEEN :first_day AND :last_day
    AND method = 'GET'
    AND status_code IN (200, 206, 304)
GROUP BY uri_stem
ORDER BY requests DESC, path
LIMIT 100
