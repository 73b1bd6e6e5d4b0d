-- What could not be processed, by type and reason, with one example of each.
SELECT
    kind,
    content_type,
    processing_error_code,
    count(*) AS files,
    min(file_path) AS for_example
FROM content_metadata
WHERE year = :export_year AND month = :export_month AND day = :export_day
    AND processing_status = 'failed'
GROUP BY kind, content_type, processing_error_code
ORDER BY files DESC, kind, content_type, processing_error_code
