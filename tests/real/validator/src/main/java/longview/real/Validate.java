package longview.real;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.SnapshotGeneratingValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.r4.model.MetadataResource;

/**
 * Validates JSON files with HL7's instance validator. Arguments: how many folders of definitions follow, the folders, then the files.
 * The folders hold what R4 itself predates: current terminology (AIAST), HL7's extensions, then the profiles that bind us, if they are at hand;
 * with them, an unknown profile or extension is an error. Prints one line an error; exit status 1 on any.
 */
public class Validate {
  private static final String OWN_EXTENSIONS = "https://ai.example.org/";

  public static void main(String[] arguments) throws Exception {
    int folders = Integer.parseInt(arguments[0]);
    var context = FhirContext.forR4();
    var definitions = new PrePopulatedValidationSupport(context);
    for (int i = 1; i <= folders; i++) {
      load(context, definitions, Path.of(arguments[i]));
    }
    var validator = validator(context, definitions, folders);
    int errors = 0;
    for (int i = folders + 1; i < arguments.length; i++) {
      errors += validate(validator, Path.of(arguments[i]));
    }
    System.exit(errors == 0 ? 0 : 1);
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

  private static FhirValidator validator(FhirContext context, PrePopulatedValidationSupport definitions, int folders) {
    var instance = new FhirInstanceValidator(new ValidationSupportChain(
        definitions, new DefaultProfileValidationSupport(context), new CommonCodeSystemsTerminologyService(context),
        new InMemoryTerminologyServerValidationSupport(context), new SnapshotGeneratingValidationSupport(context)));
    // Else a misspelt profile or extension would pass unseen. Ours are at OWN_EXTENSIONS.
    instance.setErrorForUnknownProfiles(folders > 2);
    instance.setAnyExtensionsAllowed(folders < 3);
    instance.setCustomExtensionDomains(List.of(OWN_EXTENSIONS));
    return context.newValidator().registerValidatorModule(instance);
  }

  private static int validate(FhirValidator validator, Path file) throws Exception {
    int errors = 0;
    for (var message : validator.validateWithResult(Files.readString(file)).getMessages()) {
      if (message.getSeverity().compareTo(ResultSeverityEnum.ERROR) >= 0) {
        errors++;
        System.out.println(file.getFileName() + " " + message.getLocationString() + ": " + message.getMessage());
      }
    }
    System.out.println(file.getFileName() + ": " + errors + " errors");
    return errors;
  }
}
