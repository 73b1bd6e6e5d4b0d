-- What each service cost on each day, by usage type.
SELECT
    CAST(line_item_usage_start_date AS DATE) AS date_of_usage,
    line_item_product_code AS service,
    line_item_usage_type AS usage_type,
    sum(line_item_unblended_cost) AS cost,
    max(line_item_currency_code) AS currency
FROM cost_and_usage
WHERE billing_period BETWEEN :first_month AND :last_month
    AND CAST(line_item_usage_start_date AS DATE) BETWEEN :first_date AND :last_date
GROUP BY 1, 2, 3
ORDER BY date_of_usage, cost DESC, service, usage_type
