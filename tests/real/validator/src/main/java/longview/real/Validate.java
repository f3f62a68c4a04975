package longview.real;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.SnapshotGeneratingValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.r4.model.MetadataResource;

/**
 * Validates JSON files with HL7's instance validator: one process for a whole suite, because the definitions take half a minute to load.
 * Arguments: `strict` (an unknown profile or extension is an error) or `lenient`, then folders of definitions: what R4 itself predates (current
 * terminology, HL7's extensions), our own, and the profiles that bind us, if they are at hand. Then each line on standard input names a file; the
 * answer is one line a message (severity, place, text; separated by tabs) and the line `end`.
 */
public class Validate {
  public static void main(String[] arguments) throws Exception {
    var context = FhirContext.forR4();
    var definitions = new PrePopulatedValidationSupport(context);
    for (int i = 1; i < arguments.length; i++) {
      load(context, definitions, Path.of(arguments[i]));
    }
    var validator = validator(context, definitions, arguments[0].equals("strict"));
    var files = new BufferedReader(new InputStreamReader(System.in));
    for (String file = files.readLine(); file != null; file = files.readLine()) {
      validate(validator, Path.of(file));
      System.out.println("end");
      System.out.flush();
    }
  }

  private static void load(FhirContext context, PrePopulatedValidationSupport into, Path folder) throws Exception {
    try (var files = Files.walk(folder)) {
      for (var file : (Iterable<Path>) files.filter(Validate::isDefinition)::iterator) {
        try {
          into.addResource((MetadataResource) context.newJsonParser().parseResource(Files.readString(file)));
        } catch (RuntimeException unreadable) {
          System.err.println("left out: " + file.getFileName());
        }
      }
    }
  }

  private static boolean isDefinition(Path file) {
    return file.getFileName().toString().matches("(CodeSystem|ValueSet|StructureDefinition)-.*\\.json");
  }

  private static FhirValidator validator(FhirContext context, PrePopulatedValidationSupport definitions, boolean strict) {
    var instance = new FhirInstanceValidator(new ValidationSupportChain(
        definitions, new DefaultProfileValidationSupport(context), new CommonCodeSystemsTerminologyService(context),
        new InMemoryTerminologyServerValidationSupport(context), new SnapshotGeneratingValidationSupport(context)));
    instance.setErrorForUnknownProfiles(strict);
    instance.setAnyExtensionsAllowed(!strict);
    return context.newValidator().registerValidatorModule(instance);
  }

  private static void validate(FhirValidator validator, Path file) throws Exception {
    for (var message : validator.validateWithResult(Files.readString(file)).getMessages()) {
      System.out.println(message.getSeverity().getCode() + "\t" + message.getLocationString() + "\t"
          + message.getMessage().replaceAll("\\s+", " "));
    }
  }
}
