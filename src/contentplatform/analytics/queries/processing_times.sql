-- How long it took from an upload to its renditions, by type and day of upload.
SELECT
    kind,
    upload_date,
    count(*) AS files,
    avg(processing_seconds) AS average_seconds,
    max(processing_seconds) AS longest_seconds
FROM content_metadata
WHERE year = :export_year AND month = :export_month AND day = :export_day
    AND processing_status = 'completed'
    AND CAST(upload_date AS DATE) BETWEEN :first_date AND :last_date
GROUP BY kind, upload_date
ORDER BY kind, upload_date
