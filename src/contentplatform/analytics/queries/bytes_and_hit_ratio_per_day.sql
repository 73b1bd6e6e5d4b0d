-- What the edge sent on each day, and the share of requests that it answered from its cache.
SELECT
    log_date AS date_of_requests,
    count(*) AS requests,
    sum(bytes_sent) AS bytes,
    100.0e0 * sum(CASE WHEN result_type IN ('Hit', 'RefreshHit') THEN 1 ELSE 0 END) / count(*) AS hit_percent
FROM cloudfront_logs
WHERE day BETWEEN :first_day AND :last_day
GROUP BY log_date
ORDER BY log_date
