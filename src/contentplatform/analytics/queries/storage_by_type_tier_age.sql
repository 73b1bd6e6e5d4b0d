-- What fills the storage: current versions by type, storage class and age.
SELECT
    kind,
    storage_class,
    CASE
        WHEN age_days < 30 THEN '1: under a month'
        WHEN age_days < 90 THEN '2: under three months'
        WHEN age_days < 365 THEN '3: under a year'
        WHEN age_days < 1095 THEN '4: under three years'
        ELSE '5: older'
    END AS age,
    count(*) AS files,
    sum(file_size) AS bytes
FROM (
    SELECT
        kind,
        storage_class,
        file_size,
        date_diff('day', CAST(upload_date AS DATE), :export_date) AS age_days
    FROM content_metadata
    WHERE year = :export_year AND month = :export_month AND day = :export_day
) AS files_with_age
GROUP BY 1, 2, 3
ORDER BY kind, storage_class, age
