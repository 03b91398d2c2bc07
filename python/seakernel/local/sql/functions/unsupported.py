"""Databricks functions that exist but not here: their names, so that a refusal says so instead of `unknown`."""

from __future__ import annotations

NAMES = frozenset(
    """
    aes_decrypt aes_encrypt ai_classify ai_query array_sort_by bitmap_and_agg bitmap_bit_position bitmap_bucket_number
    bitmap_construct_agg bitmap_count bitmap_or_agg cloud_files_state convert_timezone count_min_sketch csv_to_struct cube
    date_from_unix_date event_log from_avro from_csv from_protobuf from_xml h3_boundaryasgeojson hash histogram_numeric
    hll_sketch_agg hll_sketch_estimate hll_union hll_union_agg http_request input_file_block_length input_file_block_start
    input_file_name is_account_group_member is_member java_method kurtosis list_secrets luhn_check make_dt_interval
    make_interval make_ym_interval map_zip_with monotonically_increasing_id parse_url randn randstr read_files read_kafka
    reflect regr_mad remote_query rollup schema_of_csv schema_of_json schema_of_json_agg schema_of_variant_agg
    schema_of_xml secret sentences sequence_number session_window shuffle skewness spark_partition_id sql_keywords
    st_area st_geogfromtext st_point table_changes theta_sketch_agg to_avro to_char to_csv to_number to_protobuf
    to_unix_micros to_varchar to_variant_object to_xml try_aes_decrypt try_reflect try_secret try_to_binary try_to_number
    try_url_decode uniform url_decode url_encode validate_utf8 variant_explode variant_explode_outer vector_search window
    window_time xpath xpath_boolean xpath_double xpath_float xpath_int xpath_long xpath_number xpath_short xpath_string
    xxhash64 zip_with_index like ilike try_make_timestamp approx_top_k percentile_cont_approx
    """.split()
)
