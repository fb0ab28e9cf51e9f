"""Where each row of BAD_INPUTS is tested: an id, what it is, and the tests that hold it.

Rows I, A, V, TX and P have a generator in `files.py` besides; `test_rows.py` proves that every row
has a test, and that every test named here exists.
"""

from __future__ import annotations

from dataclasses import dataclass

N_ROWS = {"I": 14, "A": 9, "V": 7, "TX": 6, "P": 8, "M": 4, "X": 10, "D": 10, "H": 14, "C": 9}


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        what: the input.
        tests: `folder/file.py::test` under tests/; empty where a generator is all it takes.
    """

    what: str
    tests: tuple[str, ...] = ()


def _row(what: str, *tests: str) -> Row:
    return Row(what, tests)


_IMAGE, _AUDIO, _VIDEO = "media/test_image.py", "media/test_audio.py", "media/test_video.py"
_TEXT, _SCAN, _LOAD = "media/test_text.py", "media/test_scan.py", "media/test_load.py"
_WORKERS, _HERE = "media/test_workers.py", "bad_inputs/test_stores.py"
_FILES, _PAYLOADS = "bad_inputs/test_files.py", "bad_inputs/test_payloads.py"
_PRETRAINED, _FETCH = "encoders/test_pretrained.py", "encoders/test_fetch.py"
_SEGMENTS, _SAVED = "vectors/test_segments.py", "vectors/test_saved_indexes.py"
_LIFE, _STOPS, _BACKUP = (
    "engine/test_lifecycle.py", "engine/test_stops.py", "engine/test_backup.py"
)  # fmt: skip
_REQUESTS, _GATES, _ROUTES = (
    "server/test_requests.py", "server/test_gates.py", "server/test_media_routes.py"
)  # fmt: skip
_ACCESS, _COMMANDS = "server/test_access.py", "cli/test_commands.py"
_WRONG = f"{_COMMANDS}::test_a_wrong_command_ends_in_one_line_and_its_code"

ROWS: dict[str, Row] = {
    "I1": _row("no bytes", f"{_IMAGE}::test_an_empty_file_is_refused"),
    "I2": _row("text named .jpg", f"{_IMAGE}::test_text_named_jpg_is_not_an_image"),
    "I3": _row("cut", f"{_IMAGE}::test_a_cut_picture_is_refused_wherever_it_is_cut"),
    "I4": _row("PNG named .jpg", f"{_IMAGE}::test_a_png_named_jpg_is_indexed_as_png"),
    "I5": _row("bomb", f"{_FILES}::test_a_bomb_is_refused_from_its_header_at_once"),
    "I6": _row("200 MP", f"{_IMAGE}::test_a_jpeg_over_the_budget_is_decoded_small"),
    "I7": _row("a thread", f"{_IMAGE}::test_extreme_shapes_give_a_full_square"),
    "I8": _row("2e9 x 2e9", f"{_IMAGE}::test_a_bomb_is_refused_from_its_header"),
    "I9": _row("frames", f"{_IMAGE}::test_only_the_first_frame_of_an_animation_counts"),
    "I10": _row(
        "pixel types",
        f"{_IMAGE}::test_samples_of_16_bits_keep_their_upper_byte",
        f"{_IMAGE}::test_transparency_lies_over_white",
        f"{_IMAGE}::test_ink_and_single_bits_become_rgb",
        f"{_IMAGE}::test_a_broken_colour_profile_is_ignored",
    ),
    "I11": _row(
        "EXIF",
        f"{_IMAGE}::test_all_eight_orientations_look_the_same",
        f"{_IMAGE}::test_malformed_exif_is_ignored",
    ),
    "I12": _row(
        "closed formats",
        f"{_IMAGE}::test_closed_formats_are_refused_under_any_name",
        f"{_IMAGE}::test_only_the_sniffed_plugin_is_tried",
    ),
    "I13": _row("crash", f"{_WORKERS}::test_a_bad_decoder_costs_its_own_file_only"),
    "I14": _row("hoard", f"{_WORKERS}::test_a_memory_eater_meets_its_limit"),
    "A1": _row("no samples", f"{_AUDIO}::test_a_sound_without_samples_is_refused"),
    "A2": _row("short", f"{_FILES}::test_flags_and_formats_can_be_searched_for"),
    "A3": _row("claims 4 GB", f"{_AUDIO}::test_a_header_that_claims_4_gb_is_flagged"),
    "A4": _row("NaN", f"{_AUDIO}::test_samples_that_are_no_numbers_are_refused"),
    "A5": _row("rates", f"{_AUDIO}::test_absurd_rates_are_refused"),
    "A6": _row("1,024 channels", f"{_AUDIO}::test_too_many_channels_are_refused"),
    "A7": _row("2 h in 181 KB", f"{_AUDIO}::test_only_the_first_half_hour_is_used"),
    "A8": _row("silence", f"{_AUDIO}::test_silence_is_flagged"),
    "A9": _row("10 ms", f"{_AUDIO}::test_a_click_is_too_short"),
    "V1": _row("cover only", f"{_VIDEO}::test_cover_art_alone_is_no_video"),
    "V2": _row("duration", f"{_VIDEO}::test_a_wrong_duration_in_the_header_does_no_harm"),
    "V3": _row("no moov", f"{_VIDEO}::test_a_video_without_its_index_is_truncated"),
    "V4": _row("playlists", f"{_VIDEO}::test_a_playlist_opens_nothing"),
    "V5": _row(
        "sizes",
        f"{_VIDEO}::test_frames_of_changing_size_all_fit",
        f"{_VIDEO}::test_frames_over_the_budget_are_refused",
    ),
    "V6": _row("no frame", f"{_VIDEO}::test_a_video_of_noise_has_no_decodable_frames"),
    "V7": _row(
        "12 h",
        f"{_VIDEO}::test_a_long_video_is_sampled_by_seeking",
        f"{_VIDEO}::test_a_long_video_out_of_time_is_sampled_evenly_or_too_long",
        f"{_LOAD}::test_a_huge_file_is_hashed_by_samples_and_says_so",
    ),
    "TX1": _row("surrogate", f"{_FILES}::test_a_surrogate_is_stored_as_the_replacement_character"),
    "TX2": _row("1 MB of ^", f"{_TEXT}::test_text_without_spaces_is_cut_too"),
    "TX3": _row(
        "no words",
        f"{_TEXT}::test_text_without_words_is_refused",
        f"{_HERE}::test_a_query_without_words_is_refused",
    ),
    "TX4": _row("encodings", f"{_TEXT}::test_encodings_are_told_apart"),
    "TX5": _row("long", f"{_TEXT}::test_a_huge_file_is_cut_with_a_flag"),
    "TX6": _row("signs", f"{_FILES}::test_hostile_names_and_texts_are_escaped_on_every_output"),
    "P1": _row(
        "links",
        f"{_SCAN}::test_links_are_reported_and_not_followed",
        f"{_SCAN}::test_a_hard_link_is_a_second_path",
    ),
    "P2": _row(
        "pipes and /proc",
        f"{_LOAD}::test_system_files_do_not_block_and_are_refused",
        f"{_SCAN}::test_a_device_named_as_root_is_reported",
    ),
    "P3": _row(
        "names",
        f"{_SCAN}::test_names_that_are_no_unicode_survive",
        f"{_SCAN}::test_a_path_of_4000_characters_is_taken",
    ),
    "P4": _row("changing", f"{_LOAD}::test_a_file_that_changes_twice_is_given_up"),
    "P5": _row(
        "closed or gone",
        f"{_LOAD}::test_a_file_that_may_not_be_read_is_unreadable",
        f"{_LOAD}::test_a_file_that_is_gone_is_vanished",
        f"{_SCAN}::test_an_unreadable_folder_is_reported_and_the_scan_goes_on",
    ),
    "P6": _row("archives", "media/test_kinds.py::test_a_renamed_archive_is_refused"),
    "P7": _row("backups", f"{_BACKUP}::test_hostile_archives_write_nothing_at_all"),
    "P8": _row("1,000,000 files", f"{_SCAN}::test_memory_is_bounded_by_the_chunk"),
    "M1": _row(
        "pickled weights",
        f"{_PRETRAINED}::test_pickled_weights_are_refused_also_under_another_name",
        f"{_PAYLOADS}::test_a_planted_payload_is_refused_and_runs_nothing",
    ),
    "M2": _row(
        "altered weights",
        f"{_PRETRAINED}::test_altered_files_are_refused",
        f"{_PRETRAINED}::test_weights_of_another_shape_or_without_values_are_refused",
    ),
    "M3": _row(
        "remote code", f"{_PRETRAINED}::test_a_model_that_wants_to_run_its_own_code_is_refused"
    ),
    "M4": _row(
        "offline",
        f"{_PAYLOADS}::test_a_model_that_is_not_there_asks_nobody_and_names_the_command",
        f"{_PRETRAINED}::test_half_a_file_is_never_loaded",
        f"{_FETCH}::test_an_interrupted_fetch_leaves_no_model_and_a_second_one_finishes",
    ),
    "X1": _row(
        "index file",
        "faults/test_damage.py::test_every_damage_of_an_index_file_is_noticed_before_an_answer",
        f"{_LIFE}::test_a_damaged_index_file_is_noticed_and_exact_search_serves",
    ),
    "X2": _row(
        "stale index",
        f"{_SAVED}::test_an_index_of_another_space_is_refused_with_both_names",
        f"{_SAVED}::test_another_saved_index_in_its_place_is_noticed",
    ),
    "X3": _row("segment", f"{_LIFE}::test_a_damaged_segment_is_noticed_named_and_repaired"),
    "X4": _row("stray files", f"{_LIFE}::test_stray_files_are_collected_by_a_writer_only"),
    "X5": _row("n = 2^63", f"{_SEGMENTS}::test_a_header_that_lies_allocates_nothing"),
    "X6": _row("NaN vector", f"{_HERE}::test_a_vector_without_numbers_costs_its_own_item_only"),
    "X7": _row(
        "ids",
        "vectors/test_contract.py::test_an_id_twice_in_one_call_is_refused",
        f"{_HERE}::test_vectors_and_parts_that_do_not_agree_are_named",
    ),
    "X8": _row(
        "names never rewritten",
        f"{_SEGMENTS}::test_a_segment_is_written_once",
        "faults/test_readers.py::test_readers_see_whole_generations_while_a_writer_works",
    ),
    "X9": _row("newer store", f"{_LIFE}::test_a_newer_store_is_refused_with_both_numbers"),
    "X10": _row(
        "full disk",
        f"{_SAVED}::test_a_disk_that_fills_up_while_faiss_writes_is_reported",
        f"{_STOPS}::test_a_disk_that_takes_no_more_ends_in_exit_6_and_loses_nothing",
    ),
    "D1": _row(
        "no database",
        f"{_LIFE}::test_a_lost_catalog_is_never_recreated_over",
        f"{_HERE}::test_a_cut_catalog_is_damaged_and_stays_as_it_is",
    ),
    "D2": _row(
        "flipped bit",
        "bad_inputs/test_run.py::test_flipped_bits_that_change_a_protected_value_are_found",
        "catalog/test_checksums.py::test_a_change_of_a_protected_value_names_its_row",
    ),
    "D3": _row("hot journal", f"{_HERE}::test_a_hot_journal_is_played_back_in_silence"),
    "D4": _row(
        "locked",
        "faults/test_readers.py::test_a_second_writer_is_refused_within_a_second_and_told_by_whom",
    ),
    "D5": _row("NFS", f"{_HERE}::test_a_store_on_a_network_disk_is_read_but_not_written"),
    "D6": _row(
        "old schema",
        f"{_HERE}::test_a_migration_that_stops_halfway_is_as_if_it_had_not_begun",
        "catalog/test_spaces.py::test_a_store_of_the_first_format_opens_with_a_backup",
    ),
    "D7": _row("triggers", f"{_BACKUP}::test_triggers_and_views_planted_in_a_catalog_are_refused"),
    "D8": _row(
        "PostgreSQL in mid-commit",
        "bad_inputs/test_postgres.py::"
        "test_a_connection_lost_before_a_commit_loses_and_doubles_nothing",
    ),
    "D9": _row(
        "rights",
        f"{_HERE}::test_missing_rights_name_the_grant",
        "bad_inputs/test_postgres.py::test_a_user_without_rights_is_told_the_grant",
        "bad_inputs/test_postgres.py::test_a_database_that_cannot_hold_every_text_is_refused",
    ),
    "D10": _row(
        "older catalog", f"{_HERE}::test_a_catalog_older_than_its_segments_ignores_the_newer_ones"
    ),
    "H1": _row("k", f"{_REQUESTS}::test_a_k_outside_its_range_is_refused_with_the_range"),
    "H2": _row(
        "sums",
        f"{_REQUESTS}::test_offset_and_k_together_have_a_limit",
        f"{_REQUESTS}::test_a_batch_has_at_most_64_queries_and_a_bounded_sum",
    ),
    "H3": _row(
        "bodies",
        f"{_REQUESTS}::test_a_declared_body_over_the_cap_is_refused_unread",
        f"{_REQUESTS}::test_a_chunked_body_over_the_cap_is_cut_off",
        f"{_REQUESTS}::test_a_body_that_never_comes_is_timed_out",
    ),
    "H4": _row("JSON", f"{_REQUESTS}::test_what_is_not_strictly_json_is_a_bad_request"),
    "H5": _row("vectors", f"{_REQUESTS}::test_a_vector_in_a_request_is_an_unknown_field"),
    "H6": _row(
        "injection",
        f"{_REQUESTS}::test_an_injection_in_a_filter_value_matches_literally",
        f"{_REQUESTS}::test_an_injection_in_a_filter_key_is_an_unknown_field",
    ),
    "H7": _row("traversal", f"{_ROUTES}::test_a_thousand_traversals_read_nothing_outside"),
    "H8": _row(
        "stale media", f"{_ROUTES}::test_a_file_that_is_no_longer_the_one_added_is_not_served"
    ),
    "H9": _row("ranges", f"{_ROUTES}::test_many_or_senseless_ranges_are_refused_quickly"),
    "H10": _row(
        "uploads",
        "server/test_uploads.py::test_a_bomb_costs_its_sender_an_error_with_the_code_of_the_file",
        "server/test_uploads.py::test_an_upload_over_the_cap_is_refused",
    ),
    "H11": _row("token", f"{_ACCESS}::test_every_route_refuses_without_the_token_off_loopback"),
    "H12": _row("other sites", f"{_ACCESS}::test_another_sites_page_changes_nothing"),
    "H13": _row("crowd", f"{_GATES}::test_a_full_gate_sheds_at_once_and_says_when_to_come_back"),
    "H14": _row(
        "gone",
        f"{_GATES}::test_a_client_that_hangs_up_leaves_nothing_behind",
        f"{_GATES}::test_work_that_waits_is_dropped_when_its_client_goes",
    ),
    "C1": _row("typos", _WRONG, f"{_COMMANDS}::test_a_bad_setting_in_the_file_names_it"),
    "C2": _row("numbers", _WRONG),
    "C3": _row("TOML", f"{_COMMANDS}::test_a_bad_setting_in_the_file_names_it"),
    "C4": _row("roots", f"{_HERE}::test_a_root_that_holds_no_media_is_refused"),
    "C5": _row(
        "signals",
        f"{_STOPS}::test_a_signal_stops_within_seconds_keeps_what_is_done_and_says_how_to_go_on",
        f"{_STOPS}::test_a_second_signal_ends_at_once",
        f"{_COMMANDS}::test_a_closed_pipe_ends_quietly",
    ),
    "C6": _row(
        "again", f"{_STOPS}::test_a_build_killed_at_random_and_resumed_gives_the_same_answers"
    ),
    "C7": _row(
        "full disk", f"{_STOPS}::test_a_disk_that_takes_no_more_ends_in_exit_6_and_loses_nothing"
    ),
    "C8": _row("other model", _WRONG),
    "C9": _row(
        "no token",
        "server/test_warm_command.py::test_serve_refuses_to_be_reached_by_others_without_a_token",
    ),
}
