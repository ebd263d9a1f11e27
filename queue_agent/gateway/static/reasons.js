// Why a job has no images, in words: for each type of error a sentence. What it quotes of the other
// side, the job's `error.message`, stands below it.

const SENTENCES = {
  "A setting cannot be used as it is.": ["invalid_content", "invalid_job", "invalid_message", "invalid_settings", "no_job", "runtime_rejected", "unknown_task_type", "unsupported_by_model"],
  "The workflow cannot be run.": ["invalid_workflow", "execution_error"],
  "There is no model of that name.": ["unknown_model", "model_missing"],
  "A model cannot be fetched or used.": ["model_invalid", "model_too_large", "model_unavailable", "models_in_use"],
  "An image, or another file that the job names, does not exist.": ["reference_not_found", "object_not_found"],
  "A file that the job names may not be read.": ["reference_forbidden", "reference_refused"],
  "A file that the job names is too large.": ["reference_too_large"],
  "A file that the job names cannot be fetched now.": ["reference_unavailable"],
  "The job's settings are too large, or not where they should be.": ["payload_forbidden", "payload_not_found", "payload_too_large"],
  "There was not enough memory: try smaller or fewer images.": ["out_of_memory"],
  "It took longer than a job may take.": ["timeout"],
  "The disk is full.": ["disk_full"],
  "The runtime cannot be reached, or had to start anew.": ["runtime_unavailable", "prompt_lost", "runtime_stalled", "runtime_stuck", "runtime_sick", "runtime_crashed"],
  "The runtime is not set up so that it can be used; its operator can mend that.": ["runtime_api_missing", "runtime_redirects", "runtime_unauthorized", "runtime_untrusted", "runtime_misconfigured", "web_page"],
  "Somebody stopped the runtime at it.": ["interrupted", "runtime_interrupted"],
  "The runtime's work cannot be used.": ["invalid_answer", "answer_too_large", "output_missing", "output_forbidden", "output_unavailable", "job_failed", "image_elsewhere"],
  "Nobody can say what else is in the file, as was asked for it to hold nothing else.": ["output_unsupported", "output_failed", "signing_failed"],
  "It was looked at, and may not be shown.": ["withheld"],
  "What was made could not be looked at before it is shown.": ["content_check_unavailable", "content_check_broken"],
  "What was made could not be stored, or not be told of.": ["cloud_unavailable", "object_exists", "place_taken"],
  "The agent had to stop, or lost the job, as often as it was tried.": ["agent_stopped", "attempts_exhausted", "lease_lost"],
  "Nobody began with it in time.": ["expired"],
  "It would not have been done in time.": ["deadline_missed"],
  "The operator has paused such jobs.": ["paused", "tenant_paused"],
  "The agent made a mistake; its log says which.": ["internal_error"],
};

const byType = new Map(Object.entries(SENTENCES).flatMap(([sentence, types]) => types.map((type) => [type, sentence])));

// The sentence, and whether the same once more may succeed.
export function reason({ type, retryable }) {
  return { sentence: byType.get(type) ?? "The job failed.", hint: retryable ? "The same again may succeed." : "" };
}
