-- Where viewers are. Logs without the viewer's country tell at least near which airport they were served.
SELECT
    coalesce(country, 'unknown') AS country_of_viewers,
    substr(edge_location, 1, 3) AS airport_of_the_edge,
    count(*) AS requests,
    sum(bytes_sent) AS bytes
FROM cloudfront_logs
WHERE day BETWEEN :first_day AND :last_day
GROUP BY coalesce(country, 'unknown'), substr(edge_location, 1, 3)
ORDER BY requests DESC, country_of_viewers, airport_of_the_edge
LIMIT 100
