-- The pages on which files were shown or linked.
SELECT
    referer AS referrer,
    count(*) AS requests,
    sum(bytes_sent) AS bytes
FROM cloudfront_logs
WHERE day BETWEEN :first_day AND :last_day
    AND referer <> '-'
GROUP BY referer
ORDER BY requests DESC, referrer
LIMIT 100
